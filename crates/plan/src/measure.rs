//! Metrics under names of one's own: expressions over the series that a process shows.
//!
//! `sum(a{sink="x"}) + b * 2`, a small part of what Prometheus asks: series by name and labels,
//! `sum`, `sum by (label, …)`, `+ - * /`, numbers and parentheses.

use contract::section::Entry;
use contract::{Error, Place, Result, Section};

/// Deepest nesting of an expression.
const DEPTH_MAX: usize = 32;
/// Most terms of one sum or product.
const TERMS_MAX: usize = 256;

/// A metric under a name of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Labels that all of its series get.
    pub labels: Vec<(String, String)>,
    /// What it is.
    pub value: Expression,
    /// Where it stands.
    pub place: Place,
}

/// What a metric is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number.
    Number(f64),
    /// Series as they are.
    Series(Selector),
    /// Series added up.
    Sum {
        /// The labels that stay.
        by: Vec<String>,
        /// What is added up.
        of: Box<Expression>,
    },
    /// Two of them together: a number with each series, else series of the same labels.
    Two(Operator, Box<Expression>, Box<Expression>),
}

/// What is done with two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

/// Series by their name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The name.
    pub name: String,
    /// Which of them.
    pub filters: Vec<Filter>,
}

/// A condition on a label; one that a series does not have is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The label.
    pub label: String,
    /// Whether it must have the value, or must not.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// Reads the map from names to expressions.
///
/// # Errors
/// Config, with the place: it is no such map, or an expression is wrong.
pub(crate) fn read(section: Option<&Section>) -> Result<Vec<Measure>> {
    let entries = section.map(Section::entries).unwrap_or_default();
    if let Some(section) = section.filter(|_| entries.is_empty()) {
        return Err(Error::config("expected a map from names to expressions")
            .at(section.place())
            .hint("write `metrics: { uploads_total: \"sum(log_records_processed_total)\" }`"));
    }
    entries.iter().map(measure).collect()
}

fn measure(entry: &Entry) -> Result<Measure> {
    let wrong = |error: Error| error.at(&entry.place).field(format!("metrics.{}", entry.key));
    let mut head = Reader { rest: &entry.key };
    let name = head.name().map_err(wrong)?;
    let filters = head.filters().map_err(wrong)?;
    if !head.rest.trim().is_empty() || filters.iter().any(|filter| !filter.equal) {
        let key = &*entry.key;
        return Err(wrong(Error::config(format!("{key:?} names no metric")))
            .hint("write `name` or `name{label=\"value\"}`"));
    }
    let text = entry.value.as_text().ok_or_else(|| {
        Error::config("expected an expression").at(entry.value.place()).field("metrics")
    })?;
    let value = expression(text).map_err(|error| wrong(error.at(entry.value.place())))?;
    let labels = filters.into_iter().map(|filter| (filter.label, filter.value)).collect();
    Ok(Measure { name, labels, value, place: entry.value.place().clone() })
}

fn expression(text: &str) -> Result<Expression> {
    let mut reader = Reader { rest: text };
    let value = reader.sum_of_terms(0)?;
    match reader.rest.trim() {
        "" => Ok(value),
        rest => Err(wrong_at(rest, "an operator or the end")),
    }
}

fn wrong_at(rest: &str, expected: &str) -> Error {
    let found: String = rest.trim().chars().take(20).collect();
    let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
    Error::config(format!("expected {expected}, found {found}"))
        .hint("as in `sum by (sink) (logmill_ledger_rows_total{column=\"delivered\"}) * 2`")
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn sum_of_terms(&mut self, depth: usize) -> Result<Expression> {
        let signs = [('+', Operator::Add), ('-', Operator::Subtract)];
        self.chain(&signs, depth, Self::product)
    }

    fn product(&mut self, depth: usize) -> Result<Expression> {
        let signs = [('*', Operator::Multiply), ('/', Operator::Divide)];
        self.chain(&signs, depth, Self::value)
    }

    fn chain(
        &mut self,
        signs: &[(char, Operator)],
        depth: usize,
        next: fn(&mut Self, usize) -> Result<Expression>,
    ) -> Result<Expression> {
        if depth > DEPTH_MAX {
            return Err(Error::config(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let (mut left, mut terms) = (next(self, depth)?, 1);
        while let Some((_, operator)) = signs.iter().find(|(sign, _)| self.takes(*sign)) {
            left = Expression::Two(*operator, Box::new(left), Box::new(next(self, depth)?));
            terms += 1;
            if terms > TERMS_MAX {
                return Err(Error::config(format!("more than {TERMS_MAX} terms")));
            }
        }
        Ok(left)
    }

    fn value(&mut self, depth: usize) -> Result<Expression> {
        if self.takes('(') {
            let inner = self.sum_of_terms(depth + 1)?;
            return self.need(')').map(|()| inner);
        }
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(|first: char| first.is_ascii_digit()) {
            return self.number();
        }
        let name = self.name()?;
        if name != "sum" {
            return Ok(Expression::Series(Selector { name, filters: self.filters()? }));
        }
        let mut by = Vec::new();
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix("by") {
            self.rest = rest;
            self.need('(')?;
            by.push(self.name()?);
            while self.takes(',') {
                by.push(self.name()?);
            }
            self.need(')')?;
        }
        self.need('(')?;
        let of = Box::new(self.sum_of_terms(depth + 1)?);
        self.need(')')?;
        Ok(Expression::Sum { by, of })
    }

    fn number(&mut self) -> Result<Expression> {
        let is_part = |letter: char| letter.is_ascii_digit() || ".eE".contains(letter);
        let end = self.rest.find(|letter: char| !is_part(letter)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().map_err(|_| wrong_at(digits, "a number"))?;
        self.rest = rest;
        Ok(Expression::Number(number))
    }

    fn name(&mut self) -> Result<String> {
        self.rest = self.rest.trim_start();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        let end = self.rest.find(|letter: char| !is_part(letter)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(wrong_at(self.rest, "a name"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn filters(&mut self) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        if !self.takes('{') {
            return Ok(filters);
        }
        while !self.takes('}') {
            let label = self.name()?;
            let equal = !self.takes('!');
            self.need('=')?;
            self.need('"')?;
            let end = self.rest.find('"').ok_or_else(|| wrong_at("", "the end of a value"))?;
            let value = self.rest[..end].to_owned();
            self.rest = &self.rest[end + 1..];
            filters.push(Filter { label, equal, value });
            if !self.takes(',') {
                self.need('}')?;
                break;
            }
        }
        Ok(filters)
    }

    fn takes(&mut self, sign: char) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, sign: char) -> Result<()> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(wrong_at(self.rest, &format!("`{sign}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::said;

    /// An expression with all of its parentheses.
    fn shown(value: &Expression) -> String {
        match value {
            Expression::Number(number) => number.to_string(),
            Expression::Series(Selector { name, filters }) => {
                let filters = filters.iter().map(|Filter { label, equal, value }| {
                    format!("{label}{}{value}", if *equal { "=" } else { "!=" })
                });
                format!("{name}{:?}", filters.collect::<Vec<_>>())
            }
            Expression::Sum { by, of } => format!("sum{by:?}{}", shown(of)),
            Expression::Two(operator, left, right) => {
                format!("({} {operator:?} {})", shown(left), shown(right))
            }
        }
    }

    #[test]
    fn expressions_bind_as_in_arithmetic() {
        for (text, expect) in [
            ("a", "a[]"),
            ("1.5e3*a", "(1500 Multiply a[])"),
            ("a - b - c", "((a[] Subtract b[]) Subtract c[])"),
            ("a + b / 2", "(a[] Add (b[] Divide 2))"),
            ("(a + b) / 2", "((a[] Add b[]) Divide 2)"),
            ("sum(a{x=\"1\", y!=\"2\"})", "sum[]a[\"x=1\", \"y!=2\"]"),
            ("sum by (x, y) (a) * 2", "(sum[\"x\", \"y\"]a[] Multiply 2)"),
            ("sum_of", "sum_of[]"),
        ] {
            assert_eq!(said(expression(text).map(|value| shown(&value))), expect, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expect) in [
            ("", ": expected a name, found the end"),
            ("a b", ": expected an operator or the end, found \"b\""),
            ("sum(a", ": expected `)`, found the end"),
            ("a{x=1}", ": expected `\"`, found \"1}\""),
            ("rate(a)", ": expected an operator or the end, found \"(a)\""),
        ] {
            let said = said(expression(text).map(|value| shown(&value)));
            assert!(said.starts_with(expect), "{text}: {said}");
        }
        assert!(expression(&"(".repeat(1_000)).is_err());
        assert!(expression(&format!("a{}", " + a".repeat(TERMS_MAX))).is_err());
    }

    #[test]
    fn names_may_bring_labels() {
        let text = "up_total{status=\"ok\"}: sum(a)\nplain: b\n";
        let section = crate::parse_section(text, "p.yaml").expect("YAML");
        let read = read(Some(&section)).expect("measures");
        let labels = vec![("status".to_owned(), "ok".to_owned())];
        assert_eq!((read[0].name.as_str(), &read[0].labels), ("up_total", &labels));
        assert_eq!(read[1].place.line, 2);
        for wrong in ["[a]", "{ 1x: a }", "{ 'a b': c }", "{ a: [b] }"] {
            let section = crate::parse_section(wrong, "p.yaml").expect("YAML");
            assert!(super::read(Some(&section)).is_err(), "{wrong}");
        }
    }
}
