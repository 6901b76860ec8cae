//! The index template, and the index where all rows go into one.

use async_trait::async_trait;
use contract::needs::{Maker, Need, Needs, State};
use contract::{Error, Result};

use crate::client::{Client, Method};
use crate::sink::SearchSink;

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
        if let Some(index) = self.sink.only_index() {
            let (kind, shape) = ("index", String::new());
            let state = state(&client, &format!("/{index}")).await?;
            needs.push(Need { kind, name: index, shape, state, maker: Maker::Run });
        }
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
