//! `route`: each row leaves by the first route whose condition holds, else by `default`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::not;
use contract::transform::{EpochStart, Means, Output, Port, Step, Transform};
use contract::{Error, Result, Section};
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::columns::input_schema;
use crate::expressions::{Expressions, keep, mask, run_or_reject};
use crate::planner::{BATCH_BYTES_MAX, condition, explain, made_of_batch_max};
use crate::steps::{Site, TransformSpec, check_port_name};

/// The port of the rows that no condition takes.
const DEFAULT: &str = "default";

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "route",
    summary: "Sends each row to one of several outputs, by conditions.",
    config_schema: || schema_for!(Config),
    example: "routed: { type: route, input: enriched, \
              routes: { errors: status >= 500, bots: ua_bot } }\n",
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Conditions in SQL, by the name of the output. They are tried in the order of the file; a
    /// row leaves by the first that is true (null is not). The rows of the route `errors` of the
    /// step `routed` are read as `routed.errors`, those that no route takes as `routed.default`.
    routes: BTreeMap<String, String>,
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: Config = site.section.read()?;
    if config.routes.is_empty() {
        return Err(Error::config("expected at least one route").field("routes"));
    }
    let schema = input_schema(site)?;
    let columns = Arc::new(DFSchema::try_from(schema.clone()).map_err(explain)?);
    let routes = site.section.get("routes").map(Section::entries).unwrap_or_default();
    let mut ports = Vec::new();
    let mut conditions = Vec::new();
    for route in routes {
        let place =
            |error: Error| error.at(route.value.place()).field(format!("routes.{}", route.key));
        if &*route.key == DEFAULT {
            let message = "the output \"default\" is for the rows that no route takes";
            return Err(place(Error::config(message).hint("give the route another name")));
        }
        check_port_name(&route.key).map_err(place)?;
        let text = route.value.as_text().unwrap_or_default();
        let expr = condition(text, &columns).map_err(place)?;
        let planned = Expressions::new(vec![expr], columns.clone());
        planned.compile(0, BATCH_BYTES_MAX).map_err(place)?;
        conditions.push(planned);
        ports.push(Port { name: route.key.clone(), schema: schema.clone() });
    }
    ports.push(Port { name: DEFAULT.into(), schema });
    Ok(Arc::new(Route { ports, conditions: conditions.into() }))
}

struct Route {
    ports: Vec<Port>,
    conditions: Arc<[Expressions]>,
}

impl Step for Route {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn passes_on(&self, _column: &str) -> bool {
        true
    }

    fn build(&self, means: Means) -> Result<Box<dyn Transform>> {
        let (plans, conditions) = (self.conditions.clone(), Vec::new());
        let mut worker = Worker { plans, conditions, bytes_max: made_of_batch_max(means) };
        worker.compile(0)?;
        Ok(Box::new(worker))
    }
}

struct Worker {
    plans: Arc<[Expressions]>,
    conditions: Vec<Arc<dyn PhysicalExpr>>,
    /// What a function may make of a batch.
    bytes_max: u64,
}

impl Worker {
    fn compile(&mut self, now_us: i64) -> Result<()> {
        self.conditions.clear();
        for plan in self.plans.iter() {
            self.conditions.extend(plan.compile(now_us, self.bytes_max)?);
        }
        Ok(())
    }
}

impl Transform for Worker {
    fn start_epoch(&mut self, start: EpochStart) -> Result<()> {
        if self.plans.iter().any(Expressions::depends_on_now) {
            self.compile(start.now_us)?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        // What no route has taken yet; in parts where a row had to be refused.
        let mut rest = vec![batch.clone()];
        for (port, condition) in self.conditions.iter().enumerate() {
            let mut left = Vec::with_capacity(rest.len());
            for part in rest {
                let parts = run_or_reject(&part, out, &mut |part| {
                    let mask = mask(condition, part)?;
                    Ok((keep(part, &mask)?, keep(part, &not(&mask)?)?))
                })?;
                for (_, (taken, other)) in parts {
                    out.push_to(port, taken);
                    left.push(other);
                }
            }
            rest = left;
        }
        for part in rest {
            out.push_to(self.conditions.len(), part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Table, run, shown, step_error};

    const ROUTES: &[(&str, &str)] = &[("errors", "status >= 500"), ("bots", "ua_bot")];

    fn table() -> Table {
        Table::new()
            .integers("status", &[Some(200), Some(500), None, Some(503), Some(404)])
            .booleans("ua_bot", &[Some(true), Some(true), Some(true), None, Some(false)])
    }

    #[test]
    fn the_first_condition_that_holds_takes_a_row_and_the_rest_goes_to_default() {
        let output = run("route", &[("routes", ROUTES.into())], &table());
        assert_eq!(
            shown(&output),
            "port 0\n\
             status=500 ua_bot=true _position=1\n\
             status=503 ua_bot= _position=3\n\
             port 1\n\
             status=200 ua_bot=true _position=0\n\
             status= ua_bot=true _position=2\n\
             port 2\n\
             status=404 ua_bot=false _position=4\n"
        );
    }

    #[test]
    fn a_row_is_refused_only_by_a_condition_that_it_reaches() {
        let routes: &[(&str, &str)] =
            &[("server", "status >= 500"), ("odd", "1 / (status - 500) = 0")];
        let output = run("route", &[("routes", routes.into())], &table());
        assert!(output.rejects.is_empty(), "{:?}", output.rejects);
        let routes: &[(&str, &str)] = &[("odd", "1 / (status - 500) = 1")];
        let output = run("route", &[("routes", routes.into())], &table());
        assert_eq!(output.rejects.len(), 1);
        assert_eq!(output.rejects[0].position, 1);
        assert_eq!(output.rejects[0].reason, "division by zero");
    }

    #[test]
    fn wrong_routes_are_named_with_the_way_out() {
        let check = |routes: &[(&str, &str)], expect: &str| {
            assert_eq!(step_error("route", &[("routes", routes.into())], &table()), expect);
        };
        check(
            &[("errors", "statsu >= 500")],
            "routes.errors: unknown column \"statsu\"; did you mean \"status\"?",
        );
        check(
            &[("errors", "status")],
            "routes.errors: condition \"status\" is Int64, expected a Boolean; \
             compare it with something, as in `status >= 500`",
        );
        check(
            &[("default", "true")],
            "routes.default: the output \"default\" is for the rows that no route takes; \
             give the route another name",
        );
        check(
            &[("Server errors", "true")],
            "routes.Server errors: an output cannot be named \"Server errors\"; \
             a name begins with a small letter; letters, digits, `_` and `-` follow",
        );
        check(&[], "routes: expected at least one route; -");
    }
}
