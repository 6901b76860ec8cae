//! The questions of the dashboard, for pages and text: the same answers under the same paths.

use api::Answers;
use api::answers::moments;
use clap::Args;
use contract::{Error, Result};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

/// Columns of requests whose largest groups are shown, in their order; tables have one of each.
const TOPS: [&[&str]; 9] = [
    &["endpoint", "path"],
    &["ip"],
    &["country"],
    &["referrer"],
    &["ua_browser"],
    &["ua_os"],
    &["status"],
    &["method"],
    &["ua_device"],
];
/// Panels of a table that holds no requests.
const OTHERS_MAX: usize = 9;
/// Groups of a panel on a page, with one more that says whether there are more.
const PAGE_ROWS: usize = 51;
/// Groups of a panel of text.
const TEXT_ROWS: usize = 8;
/// Points of a chart on a page.
const PAGE_POINTS: usize = 300;
/// Lines of a chart of text.
const TEXT_POINTS: usize = 24;
/// Errors that are listed on a page.
const ERRORS: [&str; 2] =
    ["filter=status>=500&filter=status<=599", "filter=status>=400&filter=status<=499"];

/// Which rows count.
#[derive(Clone, Debug, Default, Args)]
pub struct Scope {
    /// Only rows that meet a condition, as the dashboard has them: `status>=500`, `path~/api/`,
    /// `method!=GET`. May be given several times.
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<String>,

    /// Only rows from this day or moment on.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Only rows up to the end of this day, or to this moment.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl Scope {
    /// Refuses times that are none, before anything is read.
    ///
    /// # Errors
    /// Config.
    pub fn check(&self) -> Result<()> {
        let read = |name: &str, text: &Option<String>| {
            let read = text.as_ref().map(|text| {
                moments(text).ok_or_else(|| {
                    Error::config(format!("`{name}` is no time: {text:?}"))
                        .hint("write 2026-11-21, or 2026-11-21T10:00:00Z")
                })
            });
            read.transpose()
        };
        match (read("--from", &self.from)?, read("--to", &self.to)?) {
            (Some((from, _)), Some((_, to))) if from > to => {
                Err(Error::config("`--from` lies after `--to`")
                    .hint("a date as `--to` is the whole of its day"))
            }
            _ => Ok(()),
        }
    }

    /// The same in an address, with its `?`; nothing where all rows count.
    pub fn query(&self) -> String {
        let query = self.parameters("");
        if query.is_empty() { query } else { format!("?{query}") }
    }

    /// The parameters of a request, behind others.
    fn parameters(&self, others: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.filter.iter().map(|filter| ("filter", filter)));
        query.extend_pairs(self.from.iter().map(|from| ("start", from)));
        query.extend_pairs(self.to.iter().map(|to| ("end", to)));
        query.extend_pairs(form_urlencoded::parse(others.as_bytes()));
        query.finish()
    }

    async fn ask(&self, answers: &Answers, path: &str, others: &str) -> Result<Value> {
        answers.get(&format!("/{path}?{}", self.parameters(others))).await
    }
}

/// The columns of the table whose largest groups are shown.
fn tops(columns: &Value) -> Vec<String> {
    let columns = columns.as_array().map_or(&[][..], Vec::as_slice);
    let names = || columns.iter().filter_map(|column| column["name"].as_str());
    let found = TOPS
        .iter()
        .filter_map(|either| either.iter().find(|name| names().any(|known| known == **name)));
    let found = found.map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if found.iter().any(|name| ["endpoint", "path", "ip"].contains(&name.as_str())) {
        return found;
    }
    let is_shown = |column: &&Value| {
        let name = column["name"].as_str().unwrap_or_default();
        column["type"] != "time" && name != "rest" && !name.starts_with('_')
    };
    let others = columns.iter().filter(is_shown).filter_map(|column| column["name"].as_str());
    others.take(OTHERS_MAX).map(str::to_owned).collect()
}

fn has(columns: &Value, wanted: &str) -> bool {
    let columns = columns.as_array().map_or(&[][..], Vec::as_slice);
    columns.iter().any(|column| column["name"] == wanted)
}

fn has_times(session: &Value, columns: &Value) -> bool {
    session["analytics"]["time"].as_str().is_some_and(|time| has(columns, time))
}

/// All that the page asks for, each under its path with its own conditions alone.
///
/// # Errors
/// As for [`Answers::get`].
pub async fn all(answers: &Answers, scope: &Scope) -> Result<Value> {
    let session = answers.get("/session").await?;
    let columns = answers.get("/analytics/columns").await?;
    let mut asked = vec![
        ("analytics/summary".to_owned(), String::new()),
        ("pipelines".to_owned(), String::new()),
    ];
    if has_times(&session, &columns) {
        asked.push(("analytics/timeseries".to_owned(), format!("points={PAGE_POINTS}")));
    }
    for column in tops(&columns) {
        let top = format!("visitors=exclude&limit={PAGE_ROWS}");
        asked.push((format!("analytics/top/{column}"), top));
    }
    let mut whole = Map::new();
    if has(&columns, "status") {
        asked.push(("analytics/status_classes".to_owned(), String::new()));
        let column = if has(&columns, "endpoint") { "endpoint" } else { "path" };
        for errors in ERRORS {
            for (path, more) in [
                ("analytics/status_classes".to_owned(), String::new()),
                (format!("analytics/top/{column}"), "visitors=exclude&limit=8".to_owned()),
                ("analytics/records".to_owned(), "limit=15".to_owned()),
            ] {
                if path.ends_with("/path") && !has(&columns, "path") {
                    continue;
                }
                let answer = scope.ask(answers, &path, &format!("{errors}&{more}")).await?;
                whole.insert(format!("{path}?{errors}"), answer);
            }
        }
    }
    for (path, more) in asked {
        let answer = scope.ask(answers, &path, &more).await?;
        whole.insert(path, answer);
    }
    whole.insert("session".to_owned(), session);
    whole.insert("analytics/columns".to_owned(), columns);
    Ok(Value::Object(whole))
}

/// What the panels of text show.
///
/// # Errors
/// As for [`Answers::get`].
pub async fn text(answers: &Answers, scope: &Scope) -> Result<Value> {
    let session = answers.get("/session").await?;
    let Ok(columns) = answers.get("/analytics/columns").await else {
        return Ok(json!({ "summary": null, "timeseries": null, "classes": [], "top": [] }));
    };
    let series = match has_times(&session, &columns) {
        true => {
            let more = format!("visitors=exclude&points={TEXT_POINTS}");
            scope.ask(answers, "analytics/timeseries", &more).await?
        }
        false => Value::Null,
    };
    let classes = match has(&columns, "status") {
        true => scope.ask(answers, "analytics/status_classes", "").await?,
        false => json!([]),
    };
    let mut top = Vec::new();
    for column in tops(&columns) {
        let more = format!("visitors=exclude&limit={TEXT_ROWS}");
        let rows = scope.ask(answers, &format!("analytics/top/{column}"), &more).await?;
        top.push(json!({ "column": column, "rows": rows }));
    }
    Ok(json!({
        "summary": scope.ask(answers, "analytics/summary", "").await?,
        "timeseries": series,
        "classes": classes,
        "top": top,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_query_of_an_address() {
        let scope = Scope {
            filter: vec!["status>=500".to_owned(), "path~/a b&c".to_owned()],
            from: Some("2026-03-01".to_owned()),
            to: None,
        };
        assert_eq!(
            scope.query(),
            "?filter=status%3E%3D500&filter=path%7E%2Fa+b%26c&start=2026-03-01"
        );
        assert_eq!(Scope::default().query(), "");
    }

    #[test]
    fn a_table_without_requests_shows_what_it_has() {
        let columns = |names: &[&str]| {
            let column = |name: &&str| json!({ "name": name, "type": "text" });
            Value::Array(names.iter().map(column).collect())
        };
        let requests = columns(&["ts", "ip", "path", "endpoint", "status", "ua_os", "other"]);
        assert_eq!(tops(&requests), ["endpoint", "ip", "ua_os", "status"]);
        assert_eq!(tops(&columns(&["level", "_split", "service"])), ["level", "service"]);
    }
}
