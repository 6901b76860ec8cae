//! A request to the analytics: who is asked, about which rows, and a place in the queue.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::analytics::backend::Version;
use crate::analytics::desk::{Desk, Rows};
use crate::analytics::params::Params;
use crate::analytics::question::{Measure, Question, Scope};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::site::Site;

/// Which rows count; every analytics endpoint takes these parameters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand, so that repeated and unknown ones are seen")]
pub struct ScopeParams {
    /// The first moment: a date, whose whole day counts, or a time with its zone (RFC 3339).
    #[param(example = "2026-11-01")]
    start: Option<String>,
    /// The last moment, which still counts; of a date the whole day.
    #[param(example = "2026-11-30")]
    end: Option<String>,
    /// Whose days dates are, and whose days, weeks, months and years make up a series, as the IANA
    /// names it. Without it, UTC. Answers are in UTC in any case.
    #[param(example = "Europe/Berlin")]
    zone: Option<String>,
    /// Conditions, all of which must hold: a column, one of `=`, `!=`, `~` (contains), `>=`, `<=`,
    /// and a value. An empty value stands for what is null or empty.
    #[param(max_items = 20, example = json!(["status>=400"]))]
    filter: Option<Vec<String>>,
    /// Requests of bots.
    #[param(inline)]
    bots: Option<SideWord>,
    /// Requests for images, styles, scripts, fonts and media.
    #[param(inline)]
    r#static: Option<SideWord>,
}

/// Whether rows of some sort count.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SideWord {
    /// As all others.
    Include,
    /// Not at all.
    Exclude,
    /// And no others.
    Only,
}

/// What may go wrong.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the OpenAPI document")]
pub enum Problems {
    /// The request is wrong; the answer says what.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(ProblemBody),
    /// The request needs the server's token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(ProblemBody),
    /// What is asked for is not there.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemBody),
    /// The request needs more than it may have.
    #[response(status = 422, content_type = "application/problem+json")]
    TooMuch(ProblemBody),
    /// Not now; `Retry-After` says when.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(ProblemBody),
}

/// A request under way.
pub struct Inquiry {
    /// Who is asked.
    pub desk: Arc<Desk>,
    /// The table as it was when the request came.
    pub table: Arc<dyn Version>,
    /// Which rows count.
    pub scope: Scope,
    _place: OwnedSemaphorePermit,
}

impl Inquiry {
    /// Reads what every endpoint takes; the rest of the parameters are for the endpoint.
    ///
    /// # Errors
    /// 400; 404: there is no table; 503: too many others ask.
    pub async fn begin(site: &Site, query: Option<&str>) -> Answer<(Self, Params)> {
        let place = site.place()?;
        let desk = site.desk()?;
        let mut params = Params::read(query)?;
        let table = desk.newest().await?;
        let scope = Scope::read(&mut params, table.columns())?;
        Ok((Self { desk, table, scope, _place: place }, params))
    }

    /// As [`Inquiry::begin`], where the endpoint takes nothing else.
    ///
    /// # Errors
    /// As for [`Inquiry::begin`].
    pub async fn plain(site: &Site, query: Option<&str>) -> Answer<Self> {
        let (inquiry, params) = Self::begin(site, query).await?;
        params.end()?;
        Ok(inquiry)
    }

    /// Answers a question.
    ///
    /// # Errors
    /// As for [`Desk::ask`].
    pub async fn ask(&self, question: &Question) -> Answer<Rows> {
        self.desk.ask(&self.table, question).await
    }

    /// Answers a question about all rows together.
    ///
    /// # Errors
    /// As for [`Desk::ask`].
    pub async fn all(&self, measures: &[Measure]) -> Answer<Rows> {
        self.ask(&Question::of(&self.scope, measures)).await
    }

    /// Whether the table has all of these columns.
    pub fn has(&self, columns: &[&str]) -> bool {
        columns.iter().all(|name| self.table.columns().find(name).is_some())
    }

    /// Whether visitors can be told apart.
    pub fn knows_visitors(&self) -> bool {
        self.has(&["ip", "user_agent"])
    }
}

impl Site {
    /// A place among the requests that wait for data.
    ///
    /// # Errors
    /// 503: all are taken.
    pub fn place(&self) -> Answer<OwnedSemaphorePermit> {
        let place = self.requests.clone().try_acquire_owned();
        place.map_err(|_| Problem::busy("too many requests wait for an answer"))
    }

    /// Who answers questions about the table.
    ///
    /// # Errors
    /// 404: no table is served.
    pub fn desk(&self) -> Answer<Arc<Desk>> {
        self.desk.clone().ok_or_else(|| {
            Problem::not_found("no table is served")
                .hint("name one with `--table NAME`, or in the pipeline file with `serve:`")
        })
    }
}
