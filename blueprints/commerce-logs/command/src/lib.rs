//! `logmill commerce`: what belongs to the logs of the commerce platform alone.
//!
//! Its topics have fixed names, and the keys of its records are `subscription:environment:…`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use contract::Result;
use contract::error::Context;
use desk::{Desk, quoted};

/// The topics that are watched if none is named.
const TOPICS: [&str; 5] = [
    "Raw.ApplicationLogs",
    "Raw.ProxyLogs",
    "Extracted.Application",
    "Extracted.Proxy",
    "Extraction.Errors",
];
/// The consumer group that its tools know.
const GROUP: &str = "log-tail-cli";

const EXAMPLES: &str = "\
Examples:
  logmill commerce tail -s cp2 -e P1 --service api
  logmill commerce tail -t Extraction.Errors -f json";

/// Commands for the logs of the commerce platform.
#[derive(Debug, Parser)]
#[command(name = "commerce")]
struct Commerce {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Tail(Tail),
}

/// Watch the topics of raw and extracted logs live.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Tail {
    #[command(flatten)]
    records: desk::Tail,

    /// Only records of this subscription: the first part of the key.
    #[arg(short, long, value_name = "NAME")]
    subscription: Option<String>,

    /// Only records of this environment: the second part of the key.
    #[arg(short, long, value_name = "NAME")]
    environment: Option<String>,

    /// Only records of this service: part of the pod's name, the source's service, or any text in
    /// the record.
    #[arg(long, value_name = "TEXT")]
    service: Option<String>,
}

/// The arguments.
pub fn command() -> Command {
    Commerce::command()
}

/// Does what they say.
///
/// # Errors
/// Those of the general command.
pub async fn run(matches: &ArgMatches, desk: &dyn Desk) -> Result<()> {
    let commerce = Commerce::from_arg_matches(matches).bug("the arguments were read before")?;
    match commerce.action {
        Action::Tail(tail) => desk.tail(&tail.general()).await,
    }
}

impl Tail {
    fn general(self) -> desk::Tail {
        let mut records = self.records;
        if records.topics.is_empty() && records.config.is_none() {
            records.topics = TOPICS.map(str::to_owned).to_vec();
        }
        if records.group.is_none() && records.config.is_none() {
            records.group = Some(GROUP.to_owned());
        }
        for (part, wanted) in [(1, self.subscription), (2, self.environment)] {
            if let Some(wanted) = wanted {
                records.and(&format!("split_part(key, ':', {part}) = {}", quoted(&wanted)));
            }
        }
        if let Some(service) = self.service {
            // The pod's name and the source's service are texts in the record.
            let service = quoted(&service.to_lowercase());
            records.and(&format!("strpos(lower(message), {service}) > 0"));
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Notes(Mutex<Vec<desk::Tail>>);

    #[async_trait(?Send)]
    impl Desk for Notes {
        async fn tail(&self, tail: &desk::Tail) -> Result<()> {
            self.0.lock().unwrap().push(tail.clone());
            Ok(())
        }
    }

    async fn asked(arguments: &[&str]) -> desk::Tail {
        let arguments = [&["commerce", "tail"], arguments].concat();
        let matches = command().try_get_matches_from(arguments).unwrap();
        let notes = Notes::default();
        run(&matches, &notes).await.unwrap();
        notes.0.into_inner().unwrap().remove(0)
    }

    #[tokio::test]
    async fn the_flags_become_topics_and_a_condition() {
        let plain = asked(&[]).await;
        assert_eq!((plain.topics.len(), plain.condition), (5, None));
        assert_eq!(plain.group.as_deref(), Some("log-tail-cli"));
        let named = asked(&["-t", "a,b", "-s", "o'x", "-e", "P1", "--where", "offset > 3"]).await;
        assert_eq!(named.topics, ["a", "b"]);
        assert_eq!(
            named.condition.as_deref(),
            Some(
                "((offset > 3) AND (split_part(key, ':', 1) = 'o''x')) AND \
                 (split_part(key, ':', 2) = 'P1')"
            )
        );
        let service = asked(&["-c", "kafka.yaml", "--service", "API"]).await;
        assert!(service.topics.is_empty(), "the file names them");
        assert_eq!(service.condition.as_deref(), Some("strpos(lower(message), 'api') > 0"));
    }
}
