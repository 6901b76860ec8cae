//! Whether two texts name one place, however they are written.

use std::path::{Component, Path, PathBuf};

use crate::location::Location;

/// Whether two texts name one place: a path or URL, and behind a blank whatever else tells it from
/// others there. `file:///a/out`, `/a/out/` and `/a/b/../out` are one place, as are a relative path
/// and the absolute one that it means just now, and `s3://b/p` and `s3a://b/p/`.
pub fn is_one_place(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    // What stands behind the location is the same, or these are two places.
    let ends = one.match_indices(' ').map(|(at, _)| at).chain([one.len()]);
    ends.into_iter().any(|end| {
        let (location, rest) = one.split_at(end);
        other.strip_suffix(rest).is_some_and(|other| is_one_location(location, other))
    })
}

/// The same for a path or URL alone.
pub fn is_one_location(one: &str, other: &str) -> bool {
    if one.is_empty() || other.is_empty() {
        return one == other;
    }
    match (Location::parse(one), Location::parse(other)) {
        (Ok(Location::Folder(one)), Ok(Location::Folder(other))) => {
            cleaned(&one) == cleaned(&other) || whole(&one) == whole(&other)
        }
        (Ok(Location::Bucket(one)), Ok(Location::Bucket(other))) => one == other,
        _ => one == other,
    }
}

/// A path without `.`, and without `..` where what it leaves is named.
fn cleaned(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match cleaned.components().next_back() {
                Some(Component::Normal(_)) => {
                    cleaned.pop();
                }
                Some(Component::RootDir) => {}
                _ => cleaned.push(part),
            },
            _ => cleaned.push(part),
        }
    }
    cleaned
}

/// The path as the system knows it, as far as it exists; links lead where they lead.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (there.canonicalize(), path.strip_prefix(there)) {
            return cleaned(&found.join(rest));
        }
    }
    cleaned(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &str, other: &str, expect: bool) {
        assert_eq!(is_one_place(one, other), expect, "{one} | {other}");
        assert_eq!(is_one_place(other, one), expect, "{other} | {one}");
    }

    #[test]
    fn one_place_has_many_names() {
        check("/a/out", "file:///a/out", true);
        check("/a/out/", "/a/./b/../out", true);
        check("./out", "out/", true);
        check("/a/my%20out", "file:///a/my%2520out", true);
        check("/a/my out", "file:///a/my%20out/", true);
        check("s3://b/p", "s3a://b/p/", true);
        check("/a/out", "/a/out2", false);
        check("s3://b/p", "s3://b/q", false);
        check("s3://b/p", "gs://b/p", false);
        check("../out", "out", false);
        check("kafka://a:1/t", "kafka://a:1/u", false);
    }

    #[test]
    fn what_stands_behind_a_location_is_compared_as_text() {
        check("/a/out/ {split}-{position}.jsonl", "file:///a/out {split}-{position}.jsonl", true);
        check("/a/out {split}.jsonl", "/a/out {split}.csv", false);
        check("s3://b/p/ k http://one:9000", "s3://b/p k http://one:9000", true);
        check("s3://b/p k http://one:9000", "s3://b/p k http://two:9000", false);
        check("/a/out", "/a/out k", false);
    }

    #[test]
    fn a_relative_path_and_a_link_are_what_they_lead_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder.path().join("real");
        std::fs::create_dir(&real).expect("a folder");
        std::os::unix::fs::symlink(&real, folder.path().join("link")).expect("a link");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        check(&text(&folder.path().join("link/new")), &text(&real.join("new")), true);
        let here = std::env::current_dir().expect("a folder");
        check("some/out", &text(&here.join("some/out")), true);
    }
}
