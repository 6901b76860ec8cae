//! The other programs, and the settings of each.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::{Route, Site, Target};
use crate::services::{find, setting};

/// Another program, which gets the name of its settings file as its only argument.
pub struct Tool {
    /// What it is called in a report.
    pub name: &'static str,
    /// By which it is asked for where it is.
    pub service: &'static str,
    /// What its settings file is called.
    file: &'static str,
    topic: &'static str,
    /// None if it writes no tables.
    table: Option<&'static str>,
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "MirrorMaker 2 (Apache Kafka 4.3.1)",
        service: "mirror_maker",
        file: "mirror_maker.properties",
        topic: include_str!("mirror_maker.properties"),
        table: None,
    },
    Tool {
        name: "Quix Streams 3.28.1",
        service: "quix_streams",
        file: "quix_streams.py",
        topic: concat!(include_str!("quix_streams.py"), include_str!("quix_streams_kafka.py")),
        table: Some(concat!(
            include_str!("quix_streams.py"),
            include_str!("quix_streams_postgres.py")
        )),
    },
    Tool {
        name: "rsyslog 8.2302",
        service: "rsyslog",
        file: "rsyslog.conf",
        topic: concat!(include_str!("rsyslog.conf"), include_str!("rsyslog_kafka.conf")),
        table: Some(concat!(include_str!("rsyslog.conf"), include_str!("rsyslog_postgres.conf"))),
    },
];

impl Tool {
    /// Writes its settings; returns what starts it. None where it is not installed, or has no such
    /// destination.
    pub(super) fn prepare(&self, site: &Site<'_>, route: &Route) -> Option<Command> {
        let text = match site.target {
            Target::Topic => self.topic,
            Target::Table => self.table?,
        };
        let program = find(self.service)?;
        let file = site.folder.join(self.file);
        fs::write(&file, fill(text, &values(site, route))).expect("a settings file");
        let log = File::create(site.folder.join("log")).expect("a log");
        let mut command = Command::new(program);
        command.arg(file).current_dir(site.folder).stdin(Stdio::null());
        command.stderr(log.try_clone().expect("a log")).stdout(log);
        Some(command)
    }
}

/// What settings may ask for.
fn values(site: &Site<'_>, route: &Route) -> [(&'static str, String); 7] {
    let folder = site.folder.to_str().expect("the folder's name is UTF-8");
    [
        ("{folder}", folder.to_owned()),
        ("{brokers}", setting("kafka")),
        ("{postgres}", setting("postgres")),
        ("{feed}", route.feed.clone()),
        ("{group}", route.group.clone()),
        ("{alias}", route.alias.clone()),
        ("{destination}", route.destination.clone()),
    ]
}

/// Puts names and addresses into settings.
fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::TOOLS;

    /// What stands in braces, and is no code.
    fn asked_for(text: &str) -> Vec<&str> {
        let names = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        names.filter(|name| name.chars().all(|letter| letter.is_ascii_lowercase())).collect()
    }

    #[test]
    fn settings_say_from_where_to_where_records_go_and_ask_for_nothing_unknown() {
        let known = ["folder", "brokers", "postgres", "feed", "group", "alias", "destination"];
        for tool in TOOLS {
            for text in [Some(tool.topic), tool.table].into_iter().flatten() {
                let asked = asked_for(text);
                // A mirror names its topic itself, after the alias and the feed.
                let says_where = asked.contains(&"destination") || asked.contains(&"alias");
                assert!(asked.contains(&"feed") && says_where, "{}: {asked:?}", tool.name);
                assert!(asked.iter().all(|name| known.contains(name)), "{}: {asked:?}", tool.name);
            }
        }
    }
}
