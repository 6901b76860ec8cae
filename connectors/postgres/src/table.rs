//! Names: which table is meant, and how names and texts are written in SQL.

use std::fmt;

use contract::{Error, Result};

/// The longest name that PostgreSQL keeps, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The schema of a table that is named without one.
pub const DEFAULT_SCHEMA: &str = "public";
/// The table of tokens, in the schema of those that get rows.
pub const TOKENS: &str = "logmill_tokens";

/// A table with its schema. Displays as it is written in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl TableName {
    /// Reads `table` or `schema.table`.
    ///
    /// # Errors
    /// Config: it is neither, or names several tables.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(['{', '}']) {
            return Err(Error::config(format!("{text:?} names several tables"))
                .field("table")
                .hint("name one of them"));
        }
        let (schema, name) = text.split_once('.').unwrap_or((DEFAULT_SCHEMA, text));
        Self::of(schema, name, text)
    }

    /// A table in a schema, which `text` names.
    ///
    /// # Errors
    /// Config: PostgreSQL does not keep one of the names.
    pub fn of(schema: &str, name: &str, text: &str) -> Result<Self> {
        for part in [schema, name] {
            if !is_name(part) {
                return Err(Error::config(format!("{text:?} is no name for a table"))
                    .field("table")
                    .hint("write table or schema.table, each of at most 63 bytes"));
            }
        }
        Ok(Self { schema: schema.to_owned(), name: name.to_owned() })
    }

    /// Another table in the same schema.
    pub fn beside(&self, name: &str) -> Self {
        Self { schema: self.schema.clone(), name: name.to_owned() }
    }

    /// Without quotes, for people.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// Whether PostgreSQL can keep a name as it is.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['\0', '.'])
}

/// Columns that every table has without being asked.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// The most columns that a table can have.
const COLUMNS_MAX: usize = 1600;

/// Checks that a table can have columns of these names.
///
/// # Errors
/// Config: the first name that it cannot, and why.
pub fn check_columns<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut count = 0;
    for name in names {
        count += 1;
        let bad = |why: &str| {
            Err(Error::config(format!("{name:?} is no name for a column of PostgreSQL: {why}"))
                .hint("rename it in a `sql` transform: `SELECT \"old\" AS new`"))
        };
        if name.is_empty() || name.contains('\0') {
            return bad("it is empty or holds a NUL");
        }
        if name.len() > NAME_BYTES_MAX {
            let length = name.len();
            return bad(&format!("it has {length} bytes, and {NAME_BYTES_MAX} are kept"));
        }
        if SYSTEM_COLUMNS.contains(&name) {
            return bad("every table has a column of the system under it");
        }
    }
    match count <= COLUMNS_MAX {
        true => Ok(()),
        false => Err(Error::config(format!(
            "the input has {count} columns; a table of PostgreSQL has {COLUMNS_MAX} at most"
        ))
        .hint("choose among them in a `sql` transform")),
    }
}

/// A name in SQL, which nothing in it can end.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names in SQL, with commas between them.
pub fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(TableName::parse(text).ok().map(|name| name.to_string()).as_deref(), expect);
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        check("web_logs", Some(r#""public"."web_logs""#));
        check("Archive.Web Logs", Some(r#""Archive"."Web Logs""#));
        check(r#"a"; drop table x"#, Some(r#""public"."a""; drop table x""#));
        check("a.b.c", None);
        check("", None);
        check("a.", None);
        check("t_{message}", None);
        check(&"x".repeat(64), None);
    }

    #[test]
    fn columns_have_names_that_the_server_keeps() {
        let said = |name: &str| check_columns(["a", name]).map_err(|error| error.to_string());
        let long = "ä".repeat(32);
        assert_eq!(said("Blanks, and {signs}; (=)"), Ok(()));
        assert_eq!(said(&long[..62]), Ok(()));
        for (name, why) in [
            (long.as_str(), "it has 64 bytes, and 63 are kept"),
            ("ctid", "every table has a column of the system under it"),
            ("", "it is empty or holds a NUL"),
            ("a\0", "it is empty or holds a NUL"),
        ] {
            let expect = format!("{name:?} is no name for a column of PostgreSQL: {why}");
            assert_eq!(said(name), Err(expect));
        }
        let many: Vec<String> = (0..1601).map(|number| format!("c{number}")).collect();
        assert!(check_columns(many.iter().map(String::as_str)).is_err());
    }
}
