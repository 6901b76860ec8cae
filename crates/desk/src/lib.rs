//! What a blueprint's own command works with.
//!
//! A command that fits every pipeline belongs to the program; what speaks the words of one team
//! (its topics, its keys, its flags) lives in `blueprints/<name>/command` as a small crate, which
//! knows the program by this trait alone. Its arguments become those of a general command.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command};
use contract::Result;

/// The command of a blueprint, as the program lists it.
pub struct Blueprint {
    /// Its arguments; its name is the word on the command line.
    pub command: fn() -> Command,
    /// What it does with them.
    pub run: for<'a> fn(&'a ArgMatches, &'a dyn Desk) -> Running<'a>,
}

/// A command at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

impl fmt::Debug for Blueprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Blueprint").field("name", &(self.command)().get_name()).finish()
    }
}

/// The general commands, with the data folder and the form of results that the command line says.
#[async_trait(?Send)]
pub trait Desk {
    /// Shows live records, as `logmill tail` does, until a signal comes or enough was shown.
    ///
    /// # Errors
    /// Config: the arguments are wrong. External: the brokers do not answer.
    async fn tail(&self, tail: &Tail) -> Result<()>;
}

/// Which records of Kafka topics are shown live, and how.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Tail {
    /// Settings of a kafka source, as a YAML file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Brokers to ask first: `host:port`, several with commas between them.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "LIST")]
    pub brokers: Option<String>,

    /// Topics, or patterns between slashes; several with commas between them.
    #[arg(short, long, value_delimiter = ',', value_name = "LIST")]
    pub topics: Vec<String>,

    /// The consumer group that tools know this reader by, instead of the command's own. It gets no
    /// partitions by it: it shows all of them.
    #[arg(short, long, value_name = "NAME")]
    pub group: Option<String>,

    /// A property of librdkafka; may be repeated.
    #[arg(short = 'X', long = "client", value_name = "NAME=VALUE")]
    pub client: Vec<String>,

    /// Where to begin: latest, earliest, or a time such as 2026-01-31T00:00:00Z. [default: latest]
    #[arg(long, value_name = "PLACE")]
    pub start: Option<String>,

    /// Only records for which this is true, in SQL over message, key, headers, timestamp, topic,
    /// partition and offset: "topic = 'orders' AND message LIKE '%timeout%'".
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,

    /// One JSON object per record, with the value as it is.
    #[arg(long)]
    pub raw: bool,

    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

impl Tail {
    /// Adds a condition, which must be true too.
    pub fn and(&mut self, condition: &str) {
        self.condition = Some(match self.condition.take() {
            Some(known) => format!("({known}) AND ({condition})"),
            None => condition.to_owned(),
        });
    }
}

/// A text as SQL writes it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
