//! Which indices stand under their names: the `uuid` that a cluster gives each when it makes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::sink::Identity;
use contract::{Error, Result};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use crate::client::{Client, Method};

/// Names in one question, so that its address does not become too long.
const NAMES_AT_ONCE: usize = 16;
/// What is asked of each: indices that are away are left out, those that are closed are not.
const QUERY: &str = "filter_path=*.settings.index.uuid&expand_wildcards=all\
                     &ignore_unavailable=true&allow_no_indices=true";

/// The indices that rows of one writer went into.
pub struct Indices {
    /// Whom to ask.
    pub client: Arc<Client>,
    known: BTreeMap<String, String>,
    /// Whether the login may not see them.
    untold: bool,
}

impl Indices {
    /// None was met yet.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, known: BTreeMap::new(), untold: false }
    }

    /// Forgets what was met: rows that are sent again may go into others.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Looks at those among some that rows went into for the first time.
    ///
    /// # Errors
    /// As for [`ids`].
    pub async fn meet(&mut self, names: impl Iterator<Item = &str>) -> Result<()> {
        let new: Vec<&str> = names.filter(|name| !self.known.contains_key(*name)).collect();
        if self.untold || new.is_empty() {
            return Ok(());
        }
        match ids(&self.client, &new).await? {
            Some(ids) => self.known.extend(ids),
            None => self.untold = true,
        }
        Ok(())
    }

    /// Makes sure that the rows of an epoch stand in the indices that they were sent to.
    ///
    /// # Errors
    /// Retryable External: one was deleted meanwhile, perhaps made anew; as for [`ids`].
    pub async fn confirm(&mut self, rows: &BTreeMap<String, u64>) -> Result<Vec<Identity>> {
        let names: Vec<&str> = rows.keys().map(String::as_str).collect();
        if self.untold || names.is_empty() {
            return Ok(Vec::new());
        }
        let Some(now) = ids(&self.client, &names).await? else { return Ok(Vec::new()) };
        let identities = rows.iter().map(|(name, rows)| {
            let gone = |what: &str| {
                Err(Error::transient(format!("index {name:?} {what}; the epoch is sent again")))
            };
            match (self.known.get(name), now.get(name)) {
                (_, None) => gone("was deleted"),
                (Some(before), Some(now)) if before != now => gone("was deleted and made anew"),
                (_, Some(id)) => Ok(Identity { place: name.clone(), id: id.clone(), rows: *rows }),
            }
        });
        let identities = identities.collect::<Result<Vec<_>>>()?;
        self.known.extend(now);
        Ok(identities)
    }
}

#[derive(Deserialize)]
struct Found {
    settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    index: Index,
}

#[derive(Deserialize)]
struct Index {
    uuid: String,
}

/// The ids of indices, by name; none where the login may not see them.
///
/// # Errors
/// External: the cluster does not answer; retryable where it is busy or in trouble.
pub async fn ids(client: &Client, names: &[&str]) -> Result<Option<BTreeMap<String, String>>> {
    let mut ids = BTreeMap::new();
    for names in names.chunks(NAMES_AT_ONCE) {
        let encoded = names.iter().map(|name| byte_serialize(name.as_bytes()).collect::<String>());
        let path = format!("/{}/_settings?{QUERY}", encoded.collect::<Vec<_>>().join(","));
        let answer = client.call(Method::Get, &path, None).await?;
        if matches!(answer.status, 401 | 403) {
            return Ok(None);
        }
        let failed = || "could not ask which indices there are".to_owned();
        let found = answer.json(failed)?;
        let found: BTreeMap<String, Found> = serde_json::from_value(found)
            .map_err(|error| Error::transient(failed()).because(error))?;
        ids.extend(found.into_iter().map(|(name, found)| (name, found.settings.index.uuid)));
    }
    Ok(Some(ids))
}
