//! Any line as it stands, for what has no other format.

use super::Form;
use super::rows::{Column, Kind, Row};

/// The form of plain text.
pub struct Plain(Vec<Column>);

impl Plain {
    /// One column, `message`.
    pub fn new() -> Self {
        Self(vec![Column::new("message", Kind::Text)])
    }
}

impl Form for Plain {
    fn columns(&self) -> &[Column] {
        &self.0
    }

    fn read<'a>(&self, line: &'a str, row: &mut Row<'a>) -> Result<(), String> {
        row.piece(0, line, false);
        Ok(())
    }
}
