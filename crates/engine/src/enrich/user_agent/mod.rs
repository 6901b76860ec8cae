//! What a user agent says of itself, by the rules of uap-core and a list of our own.
//!
//! The rules are embedded and compiled on first use, once for the whole process: compiling them
//! takes longer than a program may take to start.

mod class;
mod machines;

use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::thread;

use arrow::array::{ArrayRef, BooleanArray, StringViewArray};
use contract::Result;
use flate2::read::DeflateDecoder;
use serde::Deserialize;
use ua_parser::{Extractor, device, os, user_agent};

use super::memo::Memo;
use super::words::{Word, Words};
use class::Seen;

/// A user agent is looked at no further than this: it is written by strangers.
const TEXT_BYTES_MAX: usize = 2_048;

/// The family of what no rule knows.
const OTHER: &str = "Other";

static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/user_agents.json.deflate"));

static EXTRACTOR: LazyLock<Extractor<'static>> = LazyLock::new(compile);

/// The rules of uap-core as the build script writes them.
#[derive(Deserialize)]
struct Rules {
    user_agent_parsers: Vec<user_agent::Parser<'static>>,
    os_parsers: Vec<os::Parser<'static>>,
    device_parsers: Vec<device::Parser<'static>>,
}

/// Compiles the three lists side by side: all workers wait for the slowest of them.
fn compile() -> Extractor<'static> {
    const COMPILES: &str = "a test compiles the rules";
    let Rules { user_agent_parsers, os_parsers, device_parsers } = rules();
    thread::scope(|scope| {
        let ua = scope.spawn(|| {
            let builder = user_agent::Builder::new().push_all(user_agent_parsers);
            builder.expect(COMPILES).build().expect(COMPILES)
        });
        let os = scope.spawn(|| {
            let builder = os::Builder::new().push_all(os_parsers);
            builder.expect(COMPILES).build().expect(COMPILES)
        });
        let builder = device::Builder::new().push_all(device_parsers);
        let dev = builder.expect(COMPILES).build().expect(COMPILES);
        Extractor { ua: ua.join().expect(COMPILES), os: os.join().expect(COMPILES), dev }
    })
}

fn rules() -> Rules {
    let mut text = Vec::new();
    DeflateDecoder::new(RULES).read_to_end(&mut text).expect("the build script deflated the rules");
    serde_json::from_slice(&text).expect("the build script wrote the rules")
}

/// What is known of one user agent.
struct UserAgent {
    device: Option<&'static str>,
    os: String,
    browser: String,
    bot: bool,
}

/// The same, as numbers of words.
#[derive(Clone, Copy)]
struct Known {
    device: Word,
    os: Word,
    browser: Word,
    bot: Option<bool>,
}

impl Known {
    /// What is known where there is no user agent.
    const NOTHING: Self =
        Self { device: Word::NONE, os: Word::NONE, browser: Word::NONE, bot: None };
}

/// Adds the four columns to batches.
pub struct Worker {
    memo: Memo<Known>,
    words: WordsOfColumns,
}

#[derive(Default)]
struct WordsOfColumns {
    devices: Words,
    systems: Words,
    browsers: Words,
}

impl WordsOfColumns {
    fn known(&mut self, agent: &UserAgent) -> Result<Known> {
        Ok(Known {
            device: self.devices.number(agent.device)?,
            os: self.systems.number(Some(&agent.os))?,
            browser: self.browsers.number(Some(&agent.browser))?,
            bot: Some(agent.bot),
        })
    }
}

impl Worker {
    /// A worker that has seen no user agent yet.
    pub fn new() -> Self {
        Self { memo: Memo::new(), words: WordsOfColumns::default() }
    }

    /// `ua_device`, `ua_os`, `ua_browser`, `ua_bot`.
    ///
    /// # Errors
    /// Bug: there are more words than a column can have.
    pub fn columns(&mut self, texts: &StringViewArray) -> Result<Vec<ArrayRef>> {
        if self.memo.is_full() {
            self.memo.clear();
            self.words = WordsOfColumns::default();
        }
        let words = &mut self.words;
        let mut find = |text: &str| words.known(&identify(text));
        let rows = self.memo.look_up(texts, Known::NOTHING, &mut find)?;
        let bots: BooleanArray = rows.iter().map(|row| row.bot).collect();
        Ok(vec![
            words.devices.column(rows.iter().map(|row| row.device))?,
            words.systems.column(rows.iter().map(|row| row.os))?,
            words.browsers.column(rows.iter().map(|row| row.browser))?,
            Arc::new(bots),
        ])
    }
}

fn identify(text: &str) -> UserAgent {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    let (browser, os, device) = EXTRACTOR.extract(text);
    let browser = browser.unwrap_or_else(|| user_agent::ValueRef {
        family: OTHER.into(),
        ..user_agent::ValueRef::default()
    });
    let os = os.unwrap_or_else(|| os::ValueRef { os: OTHER.into(), ..os::ValueRef::default() });
    let os_version = version(&[&os.major, &os.minor, &os.patch, &os.patch_minor]);
    let browser_version =
        version(&[&browser.major, &browser.minor, &browser.patch, &browser.patch_minor]);
    let seen = Seen {
        text,
        browser: &browser.family,
        os: &os.os,
        os_version: &os_version,
        device: device.as_ref().map_or(OTHER, |device| &device.device),
    };
    UserAgent {
        device: seen.class(),
        bot: seen.is_bot() || machines::is_listed(text),
        os: named(&os.os, &os_version),
        browser: named(&browser.family, &browser_version),
    }
}

/// The parts up to the first that is missing, joined by dots.
fn version<T: AsRef<str>>(parts: &[&Option<T>]) -> String {
    let known = parts.iter().map_while(|part| part.as_ref().map(AsRef::as_ref));
    known.take_while(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

fn named(family: &str, version: &str) -> String {
    match version {
        "" => family.to_owned(),
        _ => format!("{family} {version}"),
    }
}

#[cfg(test)]
mod tests;
