//! How people name a record: by its origin, `split@position`.

use contract::{Error, Origin, Result, SplitId};

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

/// The same, where nothing else can be meant.
///
/// # Errors
/// Config: it is no origin.
pub fn required(text: &str) -> Result<Vec<Origin>> {
    match forms(text) {
        forms if forms.is_empty() => Err(Error::config(format!("{text:?} is no origin"))
            .hint("write it as `split@position`, as `logmill dead-letters list` prints it")),
        forms => Ok(forms),
    }
}
