//! The way of a refused row, by names, and the numbers of the rows that are given again.
//!
//! The number of a row says by which way it came, in the plan of its own epoch. In another plan the
//! same number may be another way's, so what is kept is the way, by the names of the nodes on it.
//! A row that is given again keeps the number that it had: another row of its record may have the
//! one that its way has today.

use std::fmt;

use serde::{Deserialize, Serialize};
use state::checkpoint::NumberedEdge;

use super::narrow::{self, Giver, Leg, Rows};
use super::{Purpose, Refuser, Request};
use crate::branches::Branch;
use crate::graph::{Consumer, Pipeline};

/// A way to whoever refused a row: those whose output it was, as inputs are written in a pipeline
/// file, from the source on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Way(Vec<String>);

impl Way {
    /// The source at its beginning.
    pub fn source(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    fn of(pipeline: &Pipeline, legs: &[Leg]) -> Self {
        Self(legs.iter().map(|(giver, _)| name_of(pipeline, *giver)).collect())
    }

    /// Its edges in a pipeline; none if that has no such way to the node, or more than one.
    pub(crate) fn find(&self, pipeline: &Pipeline, node: Consumer) -> Option<Vec<Leg>> {
        let all = narrow::givers(pipeline);
        let mut legs: Vec<Leg> = Vec::new();
        for name in self.0.iter().rev() {
            let to = match legs.last() {
                None => node,
                Some((Giver::Step(step, _), _)) => Consumer::Step(*step),
                Some((Giver::Source(_), _)) => return None,
            };
            let giver = *all.iter().find(|giver| name_of(pipeline, **giver) == *name)?;
            let edges = narrow::consumers(pipeline, giver).edges.iter();
            let mut places = edges.enumerate().filter(|(_, edge)| edge.to == to);
            let (place, _) = places.next()?;
            if places.next().is_some() {
                return None;
            }
            legs.push((giver, place));
        }
        let begins = matches!(legs.last(), Some((Giver::Source(_), _)));
        legs.reverse();
        begins.then_some(legs)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.join(" > "))
    }
}

/// How a letter is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The way that its record takes.
    pub way: Way,
    /// The numbers that its rows had.
    pub numbering: Vec<NumberedEdge>,
}

/// The row of a letter.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Who refused it.
    pub refuser: &'a Refuser,
    /// Its number.
    pub ordinal: i64,
    /// The sources that may have read it, by name.
    pub sources: &'a [&'a str],
}

impl Pipeline {
    /// The way by which a row is given again. `then` is the pipeline that refused it; none where
    /// nobody knows that any more.
    ///
    /// # Errors
    /// The reason for which it must stay a dead letter.
    pub fn route(&self, then: Option<&Self>, row: Refused<'_>) -> Result<Route, String> {
        let Refused { refuser, ordinal, .. } = row;
        let node =
            self.find(refuser).ok_or_else(|| format!("{refuser} is not in the pipeline file"))?;
        let Some(then) = then else { return self.route_of_unknown(node, row) };
        let way = then.way_of(row)?;
        if let Some(today) = way.find(self, node) {
            let numbering = self.numbering_as(then, node, (&today, None));
            let numbering = numbering.ok_or_else(|| unlike(refuser))?;
            return Ok(Route { way, numbering });
        }
        // Where its record made but one row there, that came by whichever way there was.
        let source = way.source();
        let at = then.source_number(source).unwrap_or_default();
        let alone = then
            .find(refuser)
            .is_some_and(|node| narrow::ways(then, node, Rows::All, at).len() == 1);
        let today = alone.then(|| self.only_way(node, row.sources)).flatten();
        let today = today.ok_or_else(|| {
            format!(
                "they came to {refuser} by the way {way}, and the pipeline file has no such way \
                 any more: bring it back until they are replayed, or close them with \
                 `dead-letters ack`"
            )
        })?;
        let numbering = self.numbering_as(then, node, (&today, Some(ordinal)));
        let numbering = numbering.ok_or_else(|| unlike(refuser))?;
        Ok(Route { way: Way::of(self, &today), numbering })
    }

    /// Where nothing is known of the epoch, the only way must be the right one.
    fn route_of_unknown(&self, node: Consumer, row: Refused<'_>) -> Result<Route, String> {
        let today = self.only_way(node, row.sources).filter(|legs| {
            let mut kept = narrow::kept(self, node, std::slice::from_ref(legs)).into_iter();
            row.ordinal == 0 && !kept.any(|leg| narrow::takes_numbers(self, leg))
        });
        let today = today.ok_or_else(|| {
            format!(
                "what made their epoch is not kept any more, and by which way they came to {} \
                 nobody can tell; query them from `dead_letters`, or close them with \
                 `dead-letters ack`",
                row.refuser
            )
        })?;
        Ok(Route { way: Way::of(self, &today), numbering: Vec::new() })
    }

    /// The way by which a row came, in the pipeline that refused it.
    fn way_of(&self, row: Refused<'_>) -> Result<Way, String> {
        let refuser = row.refuser;
        let sources = row.sources.iter().filter_map(|name| self.source_number(name));
        let node = self.find(refuser);
        let rows = Rows::Numbered(row.ordinal);
        let ways = node.map(|node| sources.flat_map(move |at| narrow::ways(self, node, rows, at)));
        let mut ways: Vec<_> = ways.into_iter().flatten().collect();
        match (ways.pop(), ways.is_empty()) {
            (Some(legs), true) => Ok(Way::of(self, &legs)),
            _ => Err(format!("no single way leads from their source to {refuser}")),
        }
    }

    /// The only way from one of these sources.
    fn only_way(&self, node: Consumer, sources: &[&str]) -> Option<Vec<Leg>> {
        let sources = sources.iter().filter_map(|name| self.source_number(name));
        let mut ways = sources.map(|at| narrow::ways(self, node, Rows::All, at));
        let mut ways = ways.find(|ways| !ways.is_empty())?;
        let legs = ways.pop()?;
        ways.is_empty().then_some(legs)
    }

    fn source_number(&self, name: &str) -> Option<usize> {
        self.sources.iter().position(|node| node.name == name)
    }

    /// The numbers that another pipeline gave, for the edges of a way of this one and below it
    /// whose rows have any. `entering` is the number that rows have at the node, where their way
    /// was another one then. None where rows would get numbers that another row may have.
    fn numbering_as(
        &self,
        then: &Self,
        node: Consumer,
        (legs, entering): (&[Leg], Option<i64>),
    ) -> Option<Vec<NumberedEdge>> {
        let known: Vec<_> = narrow::legs(then).map(|leg| numbered(then, leg)).collect();
        let kept = narrow::kept(self, node, &[legs.to_vec()]).into_iter();
        let edges = kept.filter(|leg| narrow::takes_numbers(self, *leg)).map(|leg| {
            let today = numbered(self, leg);
            match entering.filter(|_| legs.contains(&leg)) {
                None => number_of(&known, &today).cloned(),
                Some(number) if legs.last() == Some(&leg) => {
                    Some(NumberedEdge { number, base: number + 1, ..today })
                }
                Some(_) => None,
            }
        });
        edges.collect()
    }

    /// Gives the rows of each edge the numbers that they had in an earlier plan. Returns the edges
    /// whose rows would have others.
    pub(crate) fn number_as(&mut self, numbering: &[NumberedEdge]) -> Vec<Leg> {
        let mut strange = Vec::new();
        for leg in narrow::legs(self).collect::<Vec<_>>() {
            if !narrow::takes_numbers(self, leg) {
                continue;
            }
            let (giver, place) = leg;
            match number_of(numbering, &numbered(self, leg)) {
                Some(NumberedEdge { number, base, .. }) => {
                    let branch = Branch::with(*number, *base);
                    narrow::consumers_mut(self, giver).edges[place].branch = Some(branch);
                }
                None => strange.push(leg),
            }
        }
        self.numbering = numbering.to_vec();
        strange
    }

    /// Makes the pipeline of a replay that gave rows these numbers: edges of which the replay knew
    /// none, it had not.
    pub(crate) fn numbered_as(mut self, numbering: &[NumberedEdge]) -> Self {
        if numbering.is_empty() {
            return self;
        }
        for (giver, place) in self.number_as(numbering).into_iter().rev() {
            narrow::consumers_mut(&mut self, giver).edges.remove(place);
        }
        self.count_ways();
        self
    }
}

impl Request {
    /// Whether it has the numbers of rows alone, which say nothing in another plan than theirs.
    pub fn lacks_ways(&self) -> bool {
        self.purpose == Purpose::Replay && self.ordinal > 0 && self.ways.is_empty()
    }

    /// Whether rows that take a route can be given together with those of the request.
    pub fn goes_along(&self, route: &Route) -> bool {
        let mut ways = self.ways.iter();
        let mut edges = route.numbering.iter();
        ways.all(|way| way.source() != route.way.source() || *way == route.way)
            && edges.all(|edge| number_of(&self.numbering, edge).is_none_or(|known| known == edge))
    }

    /// Adds the route of a letter that goes along.
    pub fn take_along(&mut self, route: Route) {
        if self.ways.contains(&route.way) {
            return;
        }
        self.ways.push(route.way);
        for edge in route.numbering {
            if number_of(&self.numbering, &edge).is_none() {
                self.numbering.push(edge);
            }
        }
    }
}

fn unlike(refuser: &Refuser) -> String {
    format!(
        "below {refuser}, or on the way to it, the pipeline file has inputs that were not there \
         when they were refused, and their rows could not be told from others of the same record: \
         take these out until they are replayed, or close them with `dead-letters ack`"
    )
}

fn number_of<'a>(numbering: &'a [NumberedEdge], edge: &NumberedEdge) -> Option<&'a NumberedEdge> {
    numbering.iter().find(|known| known.from == edge.from && known.to == edge.to)
}

fn numbered(pipeline: &Pipeline, (giver, place): Leg) -> NumberedEdge {
    let edge = narrow::consumers(pipeline, giver).edges[place];
    let to = match edge.to {
        Consumer::Step(step) => Refuser::Step(pipeline.steps[step].name.clone()),
        Consumer::Sink(sink) => Refuser::Sink(pipeline.sinks[sink].name.clone()),
    };
    let (number, base) = edge.branch.unwrap_or(Branch::only()).parts();
    NumberedEdge { from: name_of(pipeline, giver), to: to.to_string(), number, base }
}

/// A giver as an input is written in a pipeline file.
fn name_of(pipeline: &Pipeline, giver: Giver) -> String {
    match giver {
        Giver::Source(source) => pipeline.sources[source].name.clone(),
        Giver::Step(step, port) => {
            let node = &pipeline.steps[step];
            match &*node.step.ports()[port].name {
                "" => node.name.clone(),
                port => format!("{}.{port}", node.name),
            }
        }
    }
}
