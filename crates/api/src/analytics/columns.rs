//! The columns of the table, as questions may name them.

use contract::Section;

use crate::problem::{Answer, Problem};

/// What values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// Numbers with a fraction.
    Real,
    /// Moments.
    Time,
    /// True or false.
    Boolean,
}

impl Kind {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::Real => "number",
            Self::Time => "time",
            Self::Boolean => "boolean",
        }
    }
}

/// A column that can be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// The type to which the server must bring it first; only PostgreSQL has such columns.
    pub cast: Option<&'static str>,
}

/// The columns of a table, in its order.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The columns.
    pub all: Vec<Column>,
    /// The name of the table's column of times.
    pub time: String,
}

impl Columns {
    /// A column that a person named.
    ///
    /// # Errors
    /// 400 with the column that was probably meant.
    pub fn named(&self, name: &str) -> Answer<&Column> {
        self.find(name).ok_or_else(|| {
            let names = self.all.iter().map(|column| column.name.as_str());
            Problem::bad_request(format!("the table has no column {name:?}"))
                .hint(Section::did_you_mean(name, names))
        })
    }

    /// A column that an endpoint cannot do without.
    ///
    /// # Errors
    /// 404.
    pub fn needed(&self, name: &str) -> Answer<&Column> {
        let missing = || Problem::not_found(format!("the table has no column {name:?}"));
        self.find(name).ok_or_else(missing)
    }

    /// A column, if it is there.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.all.iter().find(|column| column.name == name)
    }

    /// The column of times.
    ///
    /// # Errors
    /// 404.
    pub fn time(&self) -> Answer<&Column> {
        let column = self.needed(&self.time)?;
        match column.kind {
            Kind::Time => Ok(column),
            _ => Err(Problem::not_found(format!("column {:?} holds no times", self.time))
                .hint("name the column of times with `serve: {time: …}`")),
        }
    }
}
