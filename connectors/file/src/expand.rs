//! Which paths a pattern names now.
//!
//! Not a shell: a component with `*` or `?` is a pattern, one that only has brackets is one unless
//! something of that very name stands there. Whatever cannot be listed is told beside the rest and
//! never keeps it back.

use std::ffi::OsString;
use std::fs::DirEntry;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use contract::{Error, Result};
use glob::{MatchOptions, Pattern};

/// The component that stands for any number of folders.
const FOLDERS: &str = "**";

/// What a pattern names.
#[derive(Debug, Default)]
pub struct Expanded {
    /// Paths, in order, of whatever kind.
    pub paths: Vec<PathBuf>,
    /// Folders that could not be listed.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// A component of a pattern.
#[derive(Debug)]
enum Part<'a> {
    Name(&'a str),
    Pattern { pattern: Pattern, may_be_name: Option<&'a str> },
    Folders,
}

/// Finds the paths of a pattern.
///
/// # Errors
/// Bug: it is no pattern, which was checked before.
pub fn expand(pattern: &str) -> Result<Expanded> {
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
    let components = pattern.split('/').filter(|component| !component.is_empty());
    let mut parts = components.map(part).collect::<Result<Vec<_>>>()?;
    if let Some(Part::Folders) = parts.last() {
        // All files below, as people mean it.
        parts.push(part("*")?);
    }
    let mut expanded = Expanded::default();
    expanded.walk(&start, &parts);
    // Of two names of one file the first is its name.
    expanded.paths.sort_unstable();
    Ok(expanded)
}

/// Whether a text has a character that makes a pattern of it.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn part(component: &str) -> Result<Part<'_>> {
    if component == FOLDERS {
        return Ok(Part::Folders);
    }
    if !is_pattern(component) {
        return Ok(Part::Name(component));
    }
    let pattern = Pattern::new(component).map_err(|error| {
        Error::bug(format!("pattern {component:?} was checked before")).because(error)
    })?;
    let may_be_name = (!component.contains(['*', '?'])).then_some(component);
    Ok(Part::Pattern { pattern, may_be_name })
}

impl Expanded {
    fn walk(&mut self, folder: &Path, parts: &[Part<'_>]) {
        let Some((first, rest)) = parts.split_first() else { return };
        match first {
            Part::Name(name) => self.enter(folder.join(name), rest),
            Part::Pattern { may_be_name: Some(name), .. } if is_there(&folder.join(name)) => {
                self.enter(folder.join(name), rest);
            }
            Part::Pattern { pattern, .. } => {
                let entries = self.list(folder).into_iter();
                for entry in entries.filter(|entry| matches(pattern, &entry.file_name())) {
                    match rest.is_empty() {
                        true => self.paths.push(entry.path()),
                        false if is_folder(&entry) => self.walk(&entry.path(), rest),
                        false => {}
                    }
                }
            }
            Part::Folders => self.walk_all(folder, rest),
        }
    }

    /// Goes on below a path that matched so far, which is the whole where nothing is left.
    fn enter(&mut self, path: PathBuf, rest: &[Part<'_>]) {
        if !rest.is_empty() {
            return self.walk(&path, rest);
        }
        match path.symlink_metadata() {
            Ok(_) => self.paths.push(path),
            Err(error) => self.note(path, error),
        }
    }

    /// Goes on in a folder and in every folder below it.
    fn walk_all(&mut self, folder: &Path, rest: &[Part<'_>]) {
        self.walk(folder, rest);
        for entry in self.list(folder) {
            if is_folder(&entry) && !leads_back(&entry, folder) {
                self.walk_all(&entry.path(), rest);
            }
        }
    }

    fn list(&mut self, folder: &Path) -> Vec<DirEntry> {
        let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let listed = shown.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
        listed.unwrap_or_else(|error| {
            self.note(shown.to_owned(), error);
            Vec::new()
        })
    }

    /// What is not there is no failure: it may come.
    fn note(&mut self, path: PathBuf, error: io::Error) {
        let is_known = self.unreadable.iter().any(|(known, _)| *known == path);
        if !is_known && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            self.unreadable.push((path, error));
        }
    }
}

/// A name that is not text is compared with its bad bytes replaced.
fn matches(pattern: &Pattern, name: &OsString) -> bool {
    pattern.matches_with(&name.to_string_lossy(), MatchOptions::default())
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

/// Whether a link leads to a folder that we come from.
fn leads_back(entry: &DirEntry, folder: &Path) -> bool {
    let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
    is_link
        && match (entry.path().canonicalize(), folder.canonicalize()) {
            (Ok(target), Ok(folder)) => folder.starts_with(target),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(made: &[&str], pattern: &str, expect: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder");
        for path in made {
            let path = folder.path().join(path);
            create_dir_all(path.parent().expect("a folder")).expect("made");
            write(path, "line\n").expect("written");
        }
        symlink(folder.path(), folder.path().join("back")).expect("a link");
        let root = folder.path().to_str().expect("text");
        let expanded = expand(&format!("{root}/{pattern}")).expect("a pattern");
        let below =
            |path: &PathBuf| path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
        let mut found: Vec<_> = expanded.paths.iter().map(below).collect();
        found.sort();
        assert_eq!(found, expect, "{pattern}");
        assert!(expanded.unreadable.is_empty(), "{:?}", expanded.unreadable);
    }

    #[test]
    fn brackets_that_stand_in_a_name_are_taken_as_they_are() {
        check(&["logs [old]/a.log", "logs o/b.log"], "logs [old]/*.log", &["logs [old]/a.log"]);
        check(&["logs o/b.log"], "logs [old]/*.log", &["logs o/b.log"]);
        check(&["access[1].log", "access1.log"], "access[1].log", &["access[1].log"]);
        check(&["access1.log"], "access[1].log", &["access1.log"]);
        check(&["*.log", "a.log"], "*.log", &["*.log", "a.log"]);
        check(&["a[1].log"], "a[[]1].log", &["a[1].log"]);
    }

    #[test]
    fn patterns_match_as_in_the_shell() {
        check(&["a.log", "a.log.1", "b.txt"], "a.log*", &["a.log", "a.log.1"]);
        check(&["a/x.log", "b/x.log", "c.log"], "*/x.log", &["a/x.log", "b/x.log"]);
        check(&["x.log", "a/x.log", "a/b/x.log"], "**/x.log", &["a/b/x.log", "a/x.log", "x.log"]);
        check(&["x.log"], "no/such/*.log", &[]);
        check(&["x.log"], "x.log/*.log", &[]);
        check(&["a/x.log"], "a/../a/?.log", &["a/../a/x.log"]);
    }

    #[test]
    fn a_name_that_is_no_text_is_found_by_what_is_text_in_it() {
        use std::os::unix::ffi::OsStringExt;
        let folder = tempfile::tempdir().expect("a folder");
        let name = OsString::from_vec(b"caf\xe9.log".to_vec());
        fs::write(folder.path().join(&name), "line\n").expect("written");
        let pattern = format!("{}/*.log", folder.path().display());
        let expanded = expand(&pattern).expect("a pattern");
        assert_eq!(expanded.paths, [folder.path().join(&name)]);
    }
}
