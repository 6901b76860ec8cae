//! How people name a record: by its origin, `split@position`; and one of the rows that were made of
//! it: by `split@position#number`.

use contract::{Error, Origin, Result, SplitId};

/// One of the rows of a record, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The record.
    pub origin: Origin,
    /// The number of the row; none for all of them.
    pub ordinal: Option<i64>,
}

/// What a text may stand for: the origin as it is written, and where its split is a file, that of
/// the path from the folder that the command runs in. None if it is no origin.
pub fn forms(text: &str) -> Vec<Origin> {
    let Some(origin) = Origin::parse(text) else { return Vec::new() };
    // Files are named by their whole path, and by a part of it where one stands beside them.
    let whole = std::path::absolute(origin.split.as_str()).ok();
    let whole = whole.and_then(|path| path.to_str().map(SplitId::new));
    let whole = whole.filter(|split| *split != origin.split);
    let whole = whole.map(|split| Origin { split, ..origin.clone() });
    [Some(origin), whole].into_iter().flatten().collect()
}

/// The same, where nothing else can be meant, and a row may be named.
///
/// # Errors
/// Config: it is no origin.
pub fn required(text: &str) -> Result<Vec<Chosen>> {
    let row = text.rsplit_once('#').and_then(|(record, row)| Some((record, row.parse().ok()?)));
    let of_row = row.map(|(record, row): (&str, u32)| (forms(record), Some(i64::from(row))));
    let of_row = of_row.filter(|(forms, _)| !forms.is_empty());
    match of_row.unwrap_or_else(|| (forms(text), None)) {
        (forms, _) if forms.is_empty() => Err(Error::config(format!("{text:?} is no origin"))
            .hint("write it as `split@position`, as `logmill dead-letters list` prints it")),
        (forms, ordinal) => {
            Ok(forms.into_iter().map(|origin| Chosen { origin, ordinal }).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_behind_its_record() {
        let check = |text: &str, split: &str, ordinal| {
            let named = required(text).expect(text).remove(0);
            let origin = Origin { split: SplitId::new(split), position: 144 };
            assert_eq!(named, Chosen { origin, ordinal });
        };
        check("/a@144", "/a", None);
        check("/a@144#1", "/a", Some(1));
        check("/a#1@144", "/a#1", None);
        check("/a@1#2@144#0", "/a@1#2", Some(0));
        for wrong in ["/a", "/a#1", "/a@144#", "/a@144#-1", "/a@144#x"] {
            required(wrong).expect_err(wrong);
        }
    }
}
