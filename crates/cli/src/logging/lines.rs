//! Log lines for programs that collect logs: one event, one line, always the same keys.
//!
//! A line break inside a message or a field never breaks the line.

use std::fmt::{self, Debug, Write};

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The keys of every JSON line. A field of the same name gets an underscore behind it.
const KEYS: [&str; 5] = ["time", "service", "level", "logger", "message"];

/// Writes events as lines.
pub struct Lines {
    service: String,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
}

impl Lines {
    /// `time | service | LEVEL | logger | message field=value …`
    pub fn text(service: String) -> Self {
        Self { service, form: Form::Text }
    }

    /// JSON objects.
    pub fn json(service: String) -> Self {
        Self { service, form: Form::Json }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let (level, logger) = (event.metadata().level(), event.metadata().target());
        let Said { message, fields } = said;
        match self.form {
            Form::Text => {
                let service = &self.service;
                let message = one_line(&message);
                write!(out, "{time} | {service} | {level} | {logger} | {message}")?;
                for (key, value) in &fields {
                    write!(out, " {key}={value}")?;
                }
                writeln!(out)
            }
            Form::Json => {
                let own = [time, self.service.clone(), level.to_string(), logger.into(), message];
                let own = KEYS.iter().map(|key| (*key).to_owned()).zip(own.map(Value::String));
                let object: Map<String, Value> = own.chain(fields).collect();
                writeln!(out, "{}", Value::Object(object))
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\r', "\\r").replace('\n', "\\n")
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn put(&mut self, field: &Field, value: Value) {
        let key = match KEYS.contains(&field.name()) {
            true => format!("{}_", field.name()),
            false => field.name().to_owned(),
        };
        self.fields.insert(key, value);
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string cannot fail; a value that refuses to be shown stays as it is.
        let _ = write!(text, "{value:?}");
        match field.name() {
            "message" => self.message = text,
            _ => self.put(field, Value::String(text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.put(field, value.into()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::warn;

    use super::Lines;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(lines: Lines, said: impl FnOnce()) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone());
        tracing::subscriber::with_default(subscriber.event_format(lines).finish(), said);
        let bytes = kept.0.lock().expect("one thread").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_text_line_has_five_columns_and_the_fields() {
        let line = say(Lines::text("web".into()), || {
            warn!(target: "runtime::run", epoch = 3, error = "no\nanswer", "two\nlines");
        });
        let columns: Vec<_> = line.trim_end().split(" | ").collect();
        assert!(chrono::DateTime::parse_from_rfc3339(columns[0]).is_ok(), "{line}");
        let rest = ["web", "WARN", "runtime::run", r#"two\nlines epoch=3 error="no\nanswer""#];
        assert_eq!(columns[1..], rest, "{line}");
    }

    #[test]
    fn a_json_line_always_has_the_same_keys() {
        let line = say(Lines::json("web".into()), || {
            warn!(target: "runtime::run", epoch = 3, level = "high", "said");
        });
        assert_eq!(line.matches('\n').count(), 1);
        let mut object: Value = serde_json::from_str(&line).expect("JSON");
        let time = object.as_object_mut().and_then(|object| object.remove("time"));
        assert!(time.is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z'))));
        let expected = serde_json::json!({
            "service": "web", "level": "WARN", "logger": "runtime::run", "message": "said",
            "epoch": 3, "level_": "high",
        });
        assert_eq!(object, expected);
    }
}
