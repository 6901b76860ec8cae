//! The index template, the index where all rows go into one, and else what can be known of those
//! that rows will name.

use async_trait::async_trait;
use contract::needs::{Maker, Need, Needs, State};
use contract::{Error, Result};
use serde_json::Value;

use crate::client::{Client, Method};
use crate::identity;
use crate::sink::SearchSink;

/// Which indices the cluster makes by itself: all, none, or a list of patterns.
const AUTO_CREATE: &str = "action.auto_create_index";
const TEMPLATE: &str = "index template";

/// What a sink writes to.
pub struct IndexNeeds {
    sink: SearchSink,
}

impl IndexNeeds {
    /// The indices of a sink.
    pub fn new(sink: SearchSink) -> Self {
        Self { sink }
    }
}

/// Whether something is there under a path.
async fn state(client: &Client, path: &str) -> Result<State> {
    let answer = client.call(Method::Get, path, None).await?;
    match answer.status {
        404 => Ok(State::Missing),
        _ => answer.json(|| format!("could not look at {path:?}")).map(|_| State::Present),
    }
}

/// What the cluster says of the indices that it makes by itself; none where it does not tell.
async fn auto_create(client: &Client) -> Result<Option<String>> {
    let path = format!("/_cluster/settings?include_defaults=true&filter_path=*.{AUTO_CREATE}");
    let answer = client.call(Method::Get, &path, None).await?;
    if matches!(answer.status, 401 | 403) {
        return Ok(None);
    }
    let settings = answer.json(|| "could not ask for the settings of the cluster".to_owned())?;
    let value = |level: &str| match settings.pointer(&format!("/{level}/action/auto_create_index"))
    {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    Ok(["transient", "persistent", "defaults"].into_iter().find_map(value))
}

/// The indices that rows will name: so many match the pattern, as far as the login may see.
fn named_by_rows(pattern: String, found: Option<usize>, made: Option<&str>) -> Need {
    let matching = found.map_or_else(
        || "which are there, this login may not see".to_owned(),
        |found| format!("indices that match: {found}"),
    );
    let (others, maker) = match made {
        Some("false") => {
            (format!("the cluster makes none: `{AUTO_CREATE}` is false"), Maker::Other)
        }
        Some("true") | None => ("made as rows come".to_owned(), Maker::Later),
        Some(list) => (format!("made as rows come, where `{AUTO_CREATE}` is {list}"), Maker::Later),
    };
    let state = if found == Some(0) { State::Missing } else { State::Present };
    let shape = format!("named by rows; {matching}; {others}");
    Need { kind: "index", name: pattern, shape, state, maker }
}

#[async_trait]
impl Needs for IndexNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let client = self.sink.client()?;
        let answer = client.call(Method::Get, "/", None).await?;
        answer.json(|| format!("the cluster at {:?} refuses", client.shown()))?;
        let mut needs = Vec::new();
        if let Some(path) = self.sink.template_path() {
            needs.push(Need {
                kind: TEMPLATE,
                name: self.sink.template_name().to_owned(),
                shape: format!("for {}", self.sink.index_pattern()),
                state: state(&client, &path).await?,
                maker: Maker::Run,
            });
        }
        let made = auto_create(&client).await?;
        let Some(index) = self.sink.only_index() else {
            let pattern = self.sink.index_pattern();
            let found = identity::ids(&client, &[&pattern]).await?.map(|ids| ids.len());
            needs.push(named_by_rows(pattern, found, made.as_deref()));
            return Ok(needs);
        };
        let (kind, shape) = ("index", String::new());
        let state = state(&client, &format!("/{index}")).await?;
        let maker = if made.as_deref() == Some("false") { Maker::Setup } else { Maker::Run };
        needs.push(Need { kind, name: index, shape, state, maker });
        Ok(needs)
    }

    async fn make(&self, need: &Need) -> Result<()> {
        let client = self.sink.client()?;
        if need.kind == TEMPLATE {
            return self.sink.put_template(&client).await;
        }
        let answer = client.call(Method::Put, &format!("/{}", need.name), None).await?;
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            400 if text.contains("resource_already_exists") => Ok(()),
            400 => Err(Error::config(format!("the cluster refused index {:?}", need.name))
                .because(answer.error("it said".to_owned()))),
            _ => answer.json(|| format!("could not make index {:?}", need.name)).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_that_rows_will_name_are_missing_where_nobody_makes_them() {
        let check = |found, made, blocks, part| {
            let need = named_by_rows("logs-*".to_owned(), found, made);
            assert_eq!((need.blocks(), need.is_made()), (blocks, false), "{need:?}");
            assert!(need.shape.contains(part), "{need:?}");
        };
        check(Some(0), Some("true"), false, "made as rows come");
        check(Some(0), None, false, "made as rows come");
        check(Some(0), Some("false"), true, "the cluster makes none");
        check(Some(2), Some("false"), false, "indices that match: 2; the cluster makes none");
        check(Some(0), Some("+logs-*"), false, "is +logs-*");
        check(None, Some("true"), false, "may not see");
    }
}
