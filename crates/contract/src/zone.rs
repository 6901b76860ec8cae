//! Places whose clock counts, by their names of the IANA.

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{Error, Result, Section};

/// The zone of a name such as `Europe/Berlin`.
///
/// # Errors
/// Config: there is no such zone; the hint names a similar one.
pub fn zone(name: &str) -> Result<Tz> {
    name.parse().map_err(|_| {
        let hint = Section::did_you_mean(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
        // Hundreds of names are no help.
        let hint = match hint.starts_with("allowed") {
            true => "use a name such as \"UTC\" or \"Europe/Berlin\"".to_owned(),
            false => hint,
        };
        Error::config(format!("there is no time zone {name:?}")).hint(hint)
    })
}
