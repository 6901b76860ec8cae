//! What the rows of several inputs of one sink have in common: their columns.

use arrow::datatypes::{Field, Schema};
use contract::record::keep_common_mark;
use contract::{Error, Result};

/// The columns of two inputs of one sink, by their names, if they are the same; JSON is what is
/// JSON in both.
///
/// # Errors
/// Config: they differ, and in what.
pub fn agreed(one: (&str, &Schema), other: (&str, &Schema)) -> Result<Schema> {
    let marked = |one: &Schema, other: &Schema| {
        let fields = one.fields().iter().zip(other.fields()).map(|(field, other)| {
            let mut field = field.as_ref().clone();
            keep_common_mark(&mut field, other);
            field
        });
        fields.collect::<Vec<_>>()
    };
    let same = one.1.fields().len() == other.1.fields().len();
    let (mine, others) = (marked(one.1, other.1), marked(other.1, one.1));
    if same && mine == others {
        return Ok(Schema::new(mine));
    }
    let what = difference(one, other).or_else(|| order(&mine, &others));
    let what = what.map(|what| format!(": {what}")).unwrap_or_default();
    let (one, other) = (one.0, other.0);
    Err(Error::config(format!("inputs {one:?} and {other:?} have different columns{what}")).hint(
        "bring them into one form with a `sql` transform, as `CAST(… AS text) AS name` or \
         `CAST(NULL AS bigint) AS name`, or use two sinks",
    ))
}

/// The first column that one of them has and the other has not, or has otherwise.
fn difference(one: (&str, &Schema), other: (&str, &Schema)) -> Option<String> {
    let lacks = |(name, columns): (&str, &Schema), (_, others): (&str, &Schema)| {
        let mut fields = others.fields().iter();
        let missing = fields.find(|field| columns.field_with_name(field.name()).is_err())?;
        Some(format!("{name:?} has no {:?}", missing.name()))
    };
    let differs = |field: &Field| {
        let name = field.name();
        let others = other.1.field_with_name(name).ok()?;
        let (here, there) = (field.data_type(), others.data_type());
        if here != there {
            return Some(format!("{name:?} is {here} in {:?} and {there} in {:?}", one.0, other.0));
        }
        let (may, never) = match (field.is_nullable(), others.is_nullable()) {
            (true, false) => (one.0, other.0),
            (false, true) => (other.0, one.0),
            _ => return None,
        };
        Some(format!("{name:?} may be null in {may:?} and never is in {never:?}"))
    };
    let differing = || one.1.fields().iter().find_map(|field| differs(field));
    lacks(one, other).or_else(|| lacks(other, one)).or_else(differing)
}

/// The first place at which columns stand in another order.
fn order(one: &[Field], other: &[Field]) -> Option<String> {
    let mut pairs = one.iter().zip(other);
    let (here, there) = pairs.find(|(here, there)| here.name() != there.name())?;
    Some(format!("{:?} stands where the other has {:?}", here.name(), there.name()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
        let fields = fields.iter().cloned();
        Schema::new(fields.map(|(name, kind, may)| Field::new(name, kind, may)).collect::<Vec<_>>())
    }

    #[test]
    fn inputs_that_differ_are_told_in_what() {
        let q = schema(&[("id", DataType::Int64, true), ("k", DataType::Utf8View, true)]);
        let check = |other: &[(&str, DataType, bool)], expect: &str| {
            let error = agreed(("q", &q), ("r", &schema(other))).expect_err(expect).to_string();
            assert_eq!(error, format!("inputs \"q\" and \"r\" have different columns: {expect}"));
        };
        let id = ("id", DataType::Int64, true);
        let k = ("k", DataType::Utf8View, true);
        let text = ("k", DataType::Utf8, true);
        check(&[id.clone(), text], "\"k\" is Utf8View in \"q\" and Utf8 in \"r\"");
        check(std::slice::from_ref(&id), "\"r\" has no \"k\"");
        let more = ("more", DataType::Int64, true);
        check(&[id.clone(), k.clone(), more], "\"q\" has no \"more\"");
        let never = ("k", DataType::Utf8View, false);
        check(&[id.clone(), never], "\"k\" may be null in \"q\" and never is in \"r\"");
        check(&[k.clone(), id.clone()], "\"id\" stands where the other has \"k\"");
        agreed(("q", &q), ("r", &schema(&[id, k]))).expect("the same");
    }
}
