//! Clients of librdkafka: how they are set up, what they say, and what their errors mean.
//!
//! Calls of librdkafka block; [`blocking`] runs them where that hurts nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::error::Context;
use contract::property::Properties;
use contract::{Error, Result};
use rdkafka::config::{ClientConfig, NativeClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};
use tracing::debug;

use crate::config::OneOrMany;
use crate::end::End;
use crate::listener;

/// How long one question to the brokers may take.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Properties that decide whether records are read and written once, with what sets them.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "set `brokers`"),
    ("metadata.broker.list", "set `brokers`"),
    ("group.id", "set `group`"),
    ("transactional.id", "it is made of the names of pipeline, sink and lineage"),
    ("transaction.timeout.ms", "set `transaction_timeout`"),
    ("compression.codec", "set `compression`"),
    ("compression.type", "set `compression`"),
    ("partitioner", "set `partitioner`"),
    ("auto.offset.reset", "positions come from checkpoints, the first from `start`"),
    ("enable.auto.commit", "positions are committed once everything before them is delivered"),
    ("enable.auto.offset.store", "positions are committed once everything before is delivered"),
    ("enable.partition.eof", "it is needed to find the end"),
    ("isolation.level", "only committed records are read"),
];

/// The mechanisms of SASL, with what librdkafka calls the part of it that knows them.
const MECHANISMS: &[(&str, &str)] = &[
    ("PLAIN", "sasl_plain"),
    ("SCRAM-SHA-256", "sasl_scram"),
    ("SCRAM-SHA-512", "sasl_scram"),
    ("OAUTHBEARER", "sasl_oauthbearer"),
    ("GSSAPI", "sasl_gssapi"),
];

/// The brokers, and how to talk to them.
#[derive(Clone)]
pub struct Connection {
    brokers: String,
    config: ClientConfig,
}

impl Connection {
    /// Checks the properties of a client; no I/O.
    ///
    /// # Errors
    /// Config: librdkafka does not know a property, or it is not the user's to set.
    pub fn new(brokers: &OneOrMany, properties: &Properties) -> Result<Self> {
        let brokers = brokers.all().join(",");
        if brokers.is_empty() {
            return Err(Error::config("expected the address of a broker").field("brokers"));
        }
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("client.id", "logmill").set("log.connection.close", "false");
        for (name, value) in properties {
            if let Some((_, way_out)) = OURS.iter().find(|(ours, _)| ours == name) {
                let message = format!("the property {name:?} cannot be set here");
                return Err(Error::config(message).field("client").hint(*way_out));
            }
            config.set(name, value.to_string());
        }
        config.set("bootstrap.servers", &brokers);
        let native = config.create_native_config().map_err(|error| wrong_property(&error))?;
        check_built_in(&native)?;
        Ok(Self { brokers, config })
    }

    /// The addresses, as errors and `check` show them.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The settings of a client, with some of its own.
    pub fn config(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config.clone();
        for (name, value) in own {
            config.set(*name, *value);
        }
        config
    }

    /// The error of an answer, with what the client heard about it, or that the port speaks
    /// something else: a client does not always find that out. May block for some seconds.
    pub fn explain(&self, witness: &Witness, error: KafkaError, tried: impl Into<String>) -> Error {
        let wrong = may_be_the_port(&error).then(|| {
            let protocol = self.property("security.protocol").unwrap_or("plaintext");
            listener::mismatch(&self.brokers, protocol)
        });
        match wrong.flatten() {
            Some(wrong) => wrong.context(tried),
            None => witness.explain(error, tried),
        }
    }

    /// What the user set a property to.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.config.get(name)
    }
}

/// Refuses a way to authenticate that librdkafka was built without.
fn check_built_in(native: &NativeClientConfig) -> Result<()> {
    let value = |name| native.get(name).unwrap_or_default();
    if !value("security.protocol").to_lowercase().starts_with("sasl") {
        return Ok(());
    }
    let mechanism = value("sasl.mechanism");
    let features = value("builtin.features");
    let has = |feature: &str| features.split(',').any(|built_in| built_in.trim() == feature);
    let known: Vec<_> =
        MECHANISMS.iter().filter(|(_, feature)| has(feature)).map(|(name, _)| *name).collect();
    if known.iter().any(|name| name.eq_ignore_ascii_case(&mechanism)) {
        return Ok(());
    }
    Err(Error::config(format!("the SASL mechanism {mechanism:?} is not built in"))
        .field("client")
        .hint(format!("set `sasl.mechanism` to one of {}", known.join(", "))))
}

/// Values are not shown: they may be secrets.
fn wrong_property(error: &KafkaError) -> Error {
    let message = match error {
        KafkaError::ClientConfig(_, description, name, _) => match description.starts_with("No ") {
            true => format!("librdkafka has no property {name:?}"),
            false => format!("the value of the property {name:?} is wrong"),
        },
        _ => "a property is wrong".to_owned(),
    };
    Error::config(message)
        .field("client")
        .hint("librdkafka's CONFIGURATION.md lists all properties and their values")
}

/// Answers that say no more than that nobody answered in time.
const SILENT: [RDKafkaErrorCode; 4] = [
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::MessageTimedOut,
    RDKafkaErrorCode::OperationTimedOut,
];

/// What to look at where no broker answers.
const UNREACHED: &str = "is a broker up, and can this machine reach it? Look at `brokers` (host \
                         and port), and at `advertised.listeners` of the brokers: clients go on \
                         with the addresses that these give";

/// Whether it says no more than that nobody answered in time.
pub fn is_silence(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| SILENT.contains(&code))
}

/// Whether a port that speaks TLS, or does not, may be behind it.
fn may_be_the_port(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::SSL) || is_silence(error)
}

/// Hears what a client says beside its answers.
#[derive(Debug, Default)]
pub struct Witness {
    last: Mutex<Option<(KafkaError, String)>>,
    /// The end of the partition that it reads, if it reads one.
    pub end: Arc<End>,
}

impl Witness {
    /// The error of an answer, with what was heard about it: an answer alone says only that there
    /// was none in time.
    pub fn explain(&self, error: KafkaError, tried: impl Into<String>) -> Error {
        let heard = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match heard.filter(|_| is_silence(&error)) {
            Some((cause, reason)) => failed(cause, told(&reason)).context(tried),
            None => failed(error, tried),
        }
    }
}

impl ClientContext for Witness {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, message: &str) {
        debug!(part, message, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        self.end.hear(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        debug!(%error, reason, "librdkafka");
        // The end is no error; that all brokers are down follows from what was heard before.
        let says_nothing = [Code::PartitionEOF, Code::AllBrokersDown];
        if !error.rdkafka_error_code().is_some_and(|code| says_nothing.contains(&code)) {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((error, reason.to_owned()));
        }
    }
}

impl rdkafka::consumer::ConsumerContext for Witness {}

/// The error of an answer: what we tried, and whether it may work later.
pub fn failed(error: KafkaError, tried: impl Into<String>) -> Error {
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code.and_then(refusal) {
        Some(hint) => Error::external(tried).because(error).hint(hint),
        None if code.is_some_and(|code| SILENT.contains(&code)) => {
            Error::transient(tried).because(error).hint(UNREACHED)
        }
        None => Error::transient(tried).because(error),
    }
}

/// What librdkafka says of a broker, without what it says of itself in brackets at the end.
fn told(reason: &str) -> &str {
    reason.split_once(" (after ").map_or(reason, |(told, _)| told)
}

/// What to do about an answer that will stay the same; none where another try may help.
pub fn refusal(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            Some("the page of this connector lists the permissions that it needs")
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL => Some("look at the properties `sasl.*` and `ssl.*` of `client`"),
        _ => None,
    }
}

/// Runs a call that blocks.
///
/// # Errors
/// Those of the call.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call).await.bug("a thread that talks to Kafka failed")?
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::property::Property;

    fn check(properties: &[(&str, &str)], expect: &str) {
        let properties = properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Property::Text((*value).to_owned())))
            .collect();
        let connection = Connection::new(&OneOrMany::One("a:9092".to_owned()), &properties);
        let said = connection.map_or_else(|error| error.to_string(), |_| "fine".to_owned());
        assert_eq!(said, expect);
    }

    #[test]
    fn what_a_client_says_of_itself_is_left_out() {
        let check = |reason, expect| assert_eq!(told(reason), expect);
        check(
            "a:1: Connect failed: refused (after 0ms in state CONNECT)",
            "a:1: Connect failed: refused",
        );
        check("a:1: no answer (yet)", "a:1: no answer (yet)");
    }

    #[test]
    fn where_nobody_answers_the_error_says_what_to_look_at() {
        let error = failed(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut), "no answer");
        assert!(error.retry());
        assert!(error.hint_text().is_some_and(|hint| hint.contains("`brokers`")), "{error:?}");
    }

    #[test]
    fn properties_are_checked_before_anything_runs_and_never_shown() {
        check(&[("linger.ms", "5"), ("sasl.mechanism", "PLAIN")], "fine");
        check(&[("lingr.ms", "5")], "librdkafka has no property \"lingr.ms\"");
        check(&[("linger.ms", "hunter2")], "the value of the property \"linger.ms\" is wrong");
        check(&[("group.id", "x")], "the property \"group.id\" cannot be set here");
        check(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512")], "fine");
        check(
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "GSSAPI")],
            "the SASL mechanism \"GSSAPI\" is not built in",
        );
    }
}
