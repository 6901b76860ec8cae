//! Which of two files can have been made of the other, by rotation, by compression or by a program
//! that writes a file anew: by where they lie, what they are called and when they were made.
//!
//! Says nothing of their bytes: two logs may hold the same lines from the first one on, as those of
//! a heartbeat do on each of many machines.
//!
//! Invariant: files of the very same name in two folders are never kin, nor are two whose names
//! differ in numbers alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::found::Found;
use crate::identity::{are_related, family_name, file_name, unpacked};
use crate::stream::{Compared, Likeness};

/// What is put behind the name of a log that is set aside.
const ASIDE: [&str; 5] = [".old", ".bak", ".orig", ".save", "~"];
/// What is put behind the name of a log while it is written anew.
const ANEW: [&str; 3] = [".tmp", ".new", ".part"];
/// How many letters `rsync` puts behind the name of a file that it writes, and a dot before it.
const RSYNC_LETTERS: usize = 6;
/// How long the last part of a name may be to tell the kind of a file, as `log` does.
const KIND_BYTES_MAX: usize = 8;

/// How a file can have been made of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// Not at all.
    Never,
    /// As a copy of what it held then: it has no more than the other one.
    Before,
    /// In any way: either may have more.
    Somehow,
}

/// How the names and places of two files are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Path,
    /// Rotation or compression can have made one of the other.
    Kin,
    /// They are those of two logs: one name in two folders, or another number.
    Apart,
    /// None of these.
    Other,
}

/// Files that are kept, by what kin of theirs would be called.
#[derive(Debug, Default)]
pub struct Kept {
    /// The files.
    pub found: Vec<Found>,
    numbers: HashMap<Called, Vec<usize>>,
}

/// Files with one beginning whose names have one stem.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Called {
    beginning: String,
    /// None for those of any name.
    stem: Option<String>,
    folder: PathBuf,
    /// Whether they lie in a folder of this folder.
    is_below: bool,
}

impl Kept {
    /// Keeps a file.
    pub fn push(&mut self, found: Found) {
        self.found.push(found);
        self.call(self.found.len() - 1);
    }

    /// Exchanges a file that is kept with another one.
    pub fn exchange(&mut self, number: usize, other: &mut Found) {
        std::mem::swap(&mut self.found[number], other);
        self.call(number);
    }

    fn call(&mut self, number: usize) {
        let found = &self.found[number];
        let (here, above) = (folder(found), above(found));
        let called = [
            Called::new(found, here, false),
            Called::new(found, above, true),
            Called::new(found, here, false).map(Called::anything),
        ];
        for called in called.into_iter().flatten() {
            self.numbers.entry(called).or_default().push(number);
        }
    }

    /// The numbers of those that may be kin of a file and begin as it does.
    pub fn kin(&self, found: &Found) -> Vec<usize> {
        let (here, above) = (folder(found), above(found));
        let keys = [(here, false), (above, false), (here, true)];
        let called = keys.map(|(folder, is_below)| Called::new(found, folder, is_below));
        let numbers = called.iter().flatten().filter_map(|called| self.numbers.get(called));
        let mut numbers: Vec<_> = numbers.flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| may_be_kin(&self.found[*number], found));
        let beside = Called::new(found, here, false).map(Called::anything);
        let beside = beside.and_then(|called| self.numbers.get(&called)).into_iter().flatten();
        let is_snapshot = |number: &&usize| {
            let other = &self.found[**number];
            is_snapshot(other, found) || is_snapshot(found, other)
        };
        numbers.extend(beside.filter(is_snapshot));
        numbers
    }
}

impl Called {
    fn new(found: &Found, folder: Option<&Path>, is_below: bool) -> Option<Self> {
        let (beginning, folder) = (found.beginning()?.to_owned(), folder?.to_owned());
        let stem = stem(file_name(&found.path)).into_owned();
        Some(Self { beginning, stem: Some(stem), folder, is_below })
    }

    fn anything(self) -> Self {
        Self { stem: None, ..self }
    }
}

/// How the name and place of a file are related to those of one that is gone.
pub fn relation(gone: &Path, found: &Path) -> Relation {
    if gone == found {
        return Relation::Path;
    }
    let (before, now) = (file_name(gone), file_name(found));
    let is_made = made_by_name(now, before) != Made::Never;
    let is_below = found.parent().and_then(Path::parent) == gone.parent();
    let is_beside = gone.parent() == found.parent();
    // It got its name once it was written, or another number. A log of its own name is none that
    // was rotated before.
    let is_named = made_by_name(before, now) == Made::Somehow;
    let is_numbered = are_related(gone, found) && is_next(before, now);
    match differ_in_numbers(before, now) {
        _ if is_beside && (is_made || is_named || is_numbered) || is_below && is_made => {
            Relation::Kin
        }
        true => Relation::Apart,
        false => Relation::Other,
    }
}

/// Whether rotation gives one name after another: a greater number behind a dot. A date stays.
fn is_next(before: &str, now: &str) -> bool {
    let number = |name| {
        let name = unpacked(name);
        name[family_name(name).len()..].strip_prefix('.')?.parse::<u32>().ok()
    };
    number(before).zip(number(now)).is_some_and(|(before, now)| before < now)
}

fn may_be_kin(one: &Found, other: &Found) -> bool {
    made(one, other) != Made::Never || made(other, one) != Made::Never
}

/// Whether one of two files can be a copy of the other, given how their bytes compare.
pub fn is_copy(one: &Found, other: &Found, compared: &Compared) -> bool {
    let (shorter, longer) = match compared.likeness {
        Likeness::Different => return false,
        Likeness::FirstIsPart => (one, other),
        Likeness::SecondIsPart => (other, one),
    };
    made(shorter, longer) != Made::Never
        || match made(longer, shorter) {
            Made::Never => false,
            Made::Before => compared.is_equal,
            Made::Somehow => true,
        }
}

/// How a copy can have been made of a log.
fn made(copy: &Found, log: &Found) -> Made {
    let is_beside = folder(copy) == folder(log);
    let is_below = above(copy).is_some() && above(copy) == folder(log);
    if !is_beside && !is_below {
        return Made::Never;
    }
    match made_by_name(file_name(&copy.path), file_name(&log.path)) {
        Made::Somehow if is_beside => Made::Somehow,
        // What is compressed has the time of the last write of what it was made from.
        Made::Never if is_beside && copy.is_handed_on(log) => Made::Somehow,
        Made::Never if is_beside && is_snapshot(copy, log) => Made::Before,
        Made::Never => Made::Never,
        _ if was_before(copy, log) => Made::Never,
        _ => Made::Before,
    }
}

/// Whether a file was there, or was last written, before another one was made: so it is where logs
/// are rotated by their names.
fn was_before(copy: &Found, log: &Found) -> bool {
    let Some(made_ns) = log.made_ns else { return false };
    copy.signature.modified_ns < made_ns || copy.made_ns.is_some_and(|copy_ns| copy_ns < made_ns)
}

/// Whether a file was written at once when the other one was there, as by `cp`, whatever it is
/// called: nobody writes a log so, but where many have a number.
fn is_snapshot(copy: &Found, log: &Found) -> bool {
    let (Some(made_ns), Some(log_ns)) = (copy.made_ns, log.made_ns) else { return false };
    made_ns >= log_ns
        && copy.is_written_at_once(made_ns)
        && !differ_in_numbers(file_name(&copy.path), file_name(&log.path))
}

/// Whether two names differ in numbers alone, or in what rotation adds.
fn differ_in_numbers(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> String {
        stem(name).chars().filter(|letter| !letter.is_ascii_digit()).collect()
    };
    letters(one) == letters(other)
}

/// What the names of kin have in common.
fn stem(name: &str) -> Cow<'_, str> {
    in_stem(family_name(bare(name)))
}

fn made_by_name(copy: &str, log: &str) -> Made {
    if copy == log {
        return Made::Never;
    }
    let (copy, log) = (unpacked(copy), unpacked(log));
    if copy == log || anew(copy).is_some_and(|name| unpacked(name) == log) {
        return Made::Somehow;
    }
    let family = family_name(copy);
    let is_rotated = family != copy && family == log
        || in_stem(family) != copy && in_stem(family) == log
        || aside(copy) == Some(log);
    if is_rotated { Made::Before } else { Made::Never }
}

/// A name without what is put around it while a file is written, set aside or compressed.
fn bare(name: &str) -> &str {
    let name = unpacked(name);
    unpacked(anew(name).or_else(|| aside(name)).unwrap_or(name))
}

fn aside(name: &str) -> Option<&str> {
    ASIDE.into_iter().find_map(|suffix| name.strip_suffix(suffix))
}

/// The name that a file will have once it is written.
fn anew(name: &str) -> Option<&str> {
    let of_rsync = || {
        let (name, letters) = name.strip_prefix('.')?.rsplit_once('.')?;
        let is_chance = letters.len() == RSYNC_LETTERS
            && letters.bytes().all(|letter| letter.is_ascii_alphanumeric());
        is_chance.then_some(name)
    };
    ANEW.into_iter().find_map(|suffix| name.strip_suffix(suffix)).or_else(of_rsync)
}

/// A name without a number or a date that stands before its last part: `a.log` for `a.1.log`.
fn in_stem(name: &str) -> Cow<'_, str> {
    let Some((before, kind)) = name.rsplit_once('.') else { return Cow::Borrowed(name) };
    let is_kind = kind.len() <= KIND_BYTES_MAX
        && kind.bytes().all(|letter| letter.is_ascii_alphanumeric())
        && kind.bytes().any(|letter| letter.is_ascii_alphabetic());
    let shorter = family_name(before);
    match is_kind && shorter.len() < before.len() {
        true => Cow::Owned(format!("{shorter}.{kind}")),
        false => Cow::Borrowed(name),
    }
}

fn folder(found: &Found) -> Option<&Path> {
    found.path.parent()
}

fn above(found: &Found) -> Option<&Path> {
    found.path.parent()?.parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_a_file_can_be_made_of() {
        let check = |copy: &str, log: &str, expect: Made| {
            assert_eq!(made_by_name(copy, log), expect, "{copy} of {log}");
        };
        for copy in ["a.log.1", "a.log-20240101.gz", "a.1.log", "a-2024-01-01.0.log.gz", "a.log~"] {
            check(copy, "a.log", Made::Before);
            check("a.log", copy, Made::Never);
        }
        check("a.log.old", "a.log", Made::Before);
        check("worker-1.log.1", "worker-1.log", Made::Before);
        for (one, other) in [("a.log.1", "a.log.1.gz"), ("a.log.zst", "a.log")] {
            check(one, other, Made::Somehow);
            check(other, one, Made::Somehow);
        }
        for copy in [".a.log.Xy12Zz", "a.log.new", "a.log.tmp", "a.log.gz.part"] {
            check(copy, "a.log", Made::Somehow);
        }
        for (one, other) in [
            ("a.log", "a.log"),
            ("a.log", "b.log"),
            ("a.log.1", "a.log.2"),
            ("a.log.1", "a.log.2.gz"),
            ("worker-1.log", "worker-2.log"),
            ("worker-1", "worker-2"),
            ("node1.log", "node2.log"),
            ("node1.log", "node.log"),
            ("a.log.1", "b.log"),
            ("a.log.error", "a.log"),
            ("a.error.log", "a.log"),
        ] {
            check(one, other, Made::Never);
            check(other, one, Made::Never);
        }
    }

    #[test]
    fn no_log_of_its_own_name_is_one_that_was_rotated() {
        let check = |gone: &str, found: &str, expect: Relation| {
            assert_eq!(relation(Path::new(gone), Path::new(found)), expect, "{gone} {found}");
        };
        check("/l/a.log", "/l/a.log", Relation::Path);
        check("/l/a.log", "/l/a.log.1", Relation::Kin);
        check("/l/a.log.1", "/l/a.log.2.gz", Relation::Kin);
        check("/l/a.log", "/l/old/a.log.1", Relation::Kin);
        check("/l/a.log.gz", "/l/a.log", Relation::Kin);
        check("/l/a.log.new", "/l/a.log", Relation::Kin);
        check("/l/a.log.1", "/l/a.log", Relation::Apart);
        check("/l/worker-2.log.1", "/l/worker-2.log", Relation::Apart);
        check("/l/a.1.log", "/l/a.log", Relation::Apart);
        check("/l/worker-1", "/l/worker-2", Relation::Apart);
        check("/l/messages.1", "/l/messages.2", Relation::Kin);
        check("/l/messages.2.gz", "/l/messages.1.gz", Relation::Apart);
        check("/l/messages-20241127", "/l/messages-20241127.gz", Relation::Kin);
        check("/l/messages-20241127", "/l/messages-20241128.gz", Relation::Apart);
        check("/l/one/a.log", "/l/two/a.log", Relation::Apart);
        check("/l/a.log", "/l/b.log", Relation::Other);
    }

    #[test]
    fn numbers_alone_make_no_other_name() {
        assert!(differ_in_numbers("worker-1.log", "worker-12.log.gz"));
        assert!(differ_in_numbers("a.log", "a.log.2.gz"));
        assert!(differ_in_numbers("node1", "node12"));
        assert!(!differ_in_numbers("a.log", "b.log"));
    }

    #[test]
    fn kin_have_names_of_one_stem() {
        let check = |name: &str, expect: &str| {
            assert_eq!(stem(name), expect, "{name}");
        };
        for name in ["a.log", "a.log.1", "a.log.2.gz", "a.1.log", ".a.log.Xy12Zz", "a.log.gz.tmp"] {
            check(name, "a.log");
        }
        check("a-2024-01-01.0.log.gz", "a.log");
        check("a.log.old", "a.log");
        check("access", "access");
        check("a.1", "a");
        check("1", "1");
        check("1.log", "1.log");
    }
}
