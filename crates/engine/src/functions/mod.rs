//! Functions beside SQL's own: URLs, addresses, redaction, stable hashes.
//!
//! All are pure and take text of any Arrow kind. What cannot be read (an address that is none)
//! gives null; what the author of a query got wrong (a network that is none) is an error.

mod hash;
mod network;
mod redact;
mod url;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// A function over text and whole numbers.
struct Definition {
    name: &'static str,
    parameters: Parameters,
    returns: DataType,
    /// The argument that must make sense on its own, and what finds out whether it does. Where it
    /// is a constant, as it nearly always is, the query is refused before anything runs.
    checked: Option<(usize, Check)>,
    /// Gets its arguments as columns of one length, in the types of the parameters.
    evaluate: fn(&[ArrayRef], usize) -> Result<ArrayRef>,
}

/// Finds out whether a text makes sense as an argument.
type Check = fn(&str) -> Result<()>;

/// What a function takes.
enum Parameters {
    /// These, of which the first `required` must be there.
    Fixed { list: &'static [(&'static str, Kind)], required: usize },
    /// One text or more.
    AnyTexts,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8View,
            Kind::Integer => DataType::Int64,
        }
    }
}

static DEFINITIONS: &[Definition] = &[
    url::PARSE_URL,
    url::PARSE_QUERY,
    redact::REDACT,
    network::IP_IN,
    network::IP_MASK,
    network::IP_ONLY,
    hash::HASH,
];

/// All functions, for every place where SQL is spoken.
pub fn functions() -> Vec<ScalarUDF> {
    DEFINITIONS.iter().map(|definition| ScalarUDF::from(Function::new(definition))).collect()
}

/// A definition as DataFusion calls it.
struct Function {
    definition: &'static Definition,
    signature: Signature,
}

impl Function {
    fn new(definition: &'static Definition) -> Self {
        Self { definition, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// `redact(text[, what])`: what may be left out stands in brackets.
    fn usage(&self) -> String {
        let parameters = match self.definition.parameters {
            Parameters::AnyTexts => "value, …".to_owned(),
            Parameters::Fixed { list, required } => {
                let (needed, optional) = list.split_at(required);
                let join = |list: &[(&str, Kind)]| {
                    list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
                };
                match optional {
                    [] => join(needed),
                    _ => format!("{}[, {}]", join(needed), join(optional)),
                }
            }
        };
        format!("{}({parameters})", self.definition.name)
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.definition.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match self.definition.parameters {
            Parameters::AnyTexts if !given.is_empty() => Ok(vec![DataType::Utf8View; given.len()]),
            Parameters::Fixed { list, required }
                if (required..=list.len()).contains(&given.len()) =>
            {
                Ok(list.iter().take(given.len()).map(|(_, kind)| kind.data_type()).collect())
            }
            _ => plan_err!("expected {}, found {} arguments", self.usage(), given.len()),
        }
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.definition.returns.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some((index, check)) = self.definition.checked
            && let Some(Some(constant)) = args.scalar_arguments.get(index)
            && let Some(Some(text)) = constant.try_as_str()
        {
            check(text)?;
        }
        Ok(Arc::new(Field::new(self.name(), self.definition.returns.clone(), true)))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = call.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { call.number_rows };
        let arguments = call.args.into_iter().map(|arg| arg.into_array(rows));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let values = (self.definition.evaluate)(&arguments, rows)?;
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

/// An argument of text. DataFusion has cast it to the parameter's type before.
fn text(arguments: &[ArrayRef], index: usize) -> &StringViewArray {
    arguments[index].as_string_view()
}

/// The text of a row, if there is one.
fn value(texts: &StringViewArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

fn invalid(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}

/// Something made from the text of an argument that is nearly always the same in all rows.
struct Prepared<T> {
    made: Option<(String, T)>,
}

impl<T> Prepared<T> {
    fn new() -> Self {
        Self { made: None }
    }

    fn get(&mut self, text: &str, make: impl FnOnce(&str) -> Result<T>) -> Result<&T> {
        let is_same = self.made.as_ref().is_some_and(|(known, _)| known == text);
        if !is_same {
            self.made = Some((text.to_owned(), make(text)?));
        }
        Ok(&self.made.as_ref().expect("it was made one line above").1)
    }
}

#[cfg(test)]
mod tests;
