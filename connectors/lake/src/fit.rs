//! Whether files that are prepared fit their table as others have made it by now.
//!
//! Looked at before an epoch is decided, and once more in the commit: what another writer changes
//! in between is refused all the same.

use std::collections::BTreeSet;

use contract::{Error, Result};
use deltalake::kernel::{Add, Metadata, StructField, StructType};
use serde_json::Value;

use crate::commit::Committable;
use crate::schema;

/// What the rules of columns are called that we do not check; each can make a row illegal.
const RULES: [&str; 2] = ["delta.invariants", "delta.generationExpression"];
/// How the settings of a table begin that are rules.
const CONSTRAINTS: &str = "delta.constraints.";

/// What a table is by now.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its partitions and settings.
    pub metadata: &'a Metadata,
    /// Its columns.
    pub columns: &'a StructType,
}

impl Shape<'_> {
    /// Refuses files that the table does not take as it is.
    ///
    /// # Errors
    /// Config, with the way out: partitions, types, `NOT NULL` or rules have changed.
    pub fn takes(&self, prepared: &Committable) -> Result<()> {
        self.refuse_rules()?;
        self.refuse_other_partitions(&prepared.files)?;
        schema::grow(self.columns, &prepared.columns, self.name)?;
        self.refuse_nulls(prepared)
    }

    /// The columns of prepared files that the table lacks.
    pub fn lacks<'a>(&self, columns: &'a [StructField]) -> impl Iterator<Item = &'a str> {
        let names = columns.iter().map(|column| column.name.as_str());
        names.filter(|name| self.columns.field(*name).is_none())
    }

    /// Refuses a table with rules for rows.
    ///
    /// # Errors
    /// Config: it has one.
    pub fn refuse_rules(&self) -> Result<()> {
        let mut settings = self.metadata.configuration().keys();
        let of_table = settings.find_map(|key| key.strip_prefix(CONSTRAINTS));
        let has_rule =
            |column: &&StructField| RULES.iter().any(|rule| column.metadata().contains_key(*rule));
        let of_column = self.columns.fields().find(has_rule).map(|column| column.name.as_str());
        let Some(rule) = of_table.or(of_column) else { return Ok(()) };
        let message = format!(
            "lake table {:?} has a constraint or generated column, {rule:?}, which Logmill does \
             not check",
            self.name
        );
        Err(Error::config(message).hint(format!(
            "take it away (`ALTER TABLE … DROP CONSTRAINT {rule}`), or write to another `table`"
        )))
    }

    /// Refuses files that were written for other partitions: what their paths say would be taken
    /// for something else, or for nothing.
    fn refuse_other_partitions(&self, files: &[Add]) -> Result<()> {
        let there: BTreeSet<&String> = self.metadata.partition_columns().iter().collect();
        let mut others = files.iter().map(|file| file.partition_values.keys().collect());
        let Some(other) = others.find(|columns: &BTreeSet<_>| *columns != there) else {
            return Ok(());
        };
        let message = format!(
            "lake table {:?} has the partitions {there:?} by now, and the files of this epoch \
             have {other:?}",
            self.name
        );
        Err(Error::config(message)
            .field("partition_by")
            .hint("restore the table to its version before (`RESTORE`), and start again"))
    }

    /// Refuses rows without a value in a column that must have one.
    fn refuse_nulls(&self, prepared: &Committable) -> Result<()> {
        for column in self.columns.fields().filter(|column| !column.is_nullable()) {
            let name = &column.name;
            let is_ours = prepared.columns.iter().any(|ours| ours.name == *name);
            let has_nulls = |file: &Add| match file.partition_values.get(name) {
                Some(value) => value.is_none(),
                None => nulls(file, name) > 0,
            };
            if is_ours && !prepared.files.iter().any(has_nulls) {
                continue;
            }
            let message = format!(
                "column {name:?} of lake table {:?} is NOT NULL, and rows of this epoch have no \
                 value there",
                self.name
            );
            return Err(Error::config(message).hint(
                "let the column be null again, or fill it in a `sql` step (`coalesce`), and start \
                 again",
            ));
        }
        Ok(())
    }
}

/// How many rows of a file have no value in a column, as far as its statistics tell.
fn nulls(file: &Add, column: &str) -> u64 {
    let stats = file.stats.as_deref().unwrap_or_default();
    let stats: Value = serde_json::from_str(stats).unwrap_or_default();
    stats["nullCount"][column].as_u64().unwrap_or_default()
}
