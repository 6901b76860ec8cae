//! What a field of an access log holds, and which columns it makes.

use arrow::datatypes::DataType;

use crate::column::{timestamp_type, word_type};
use crate::timestamp::TimeFormat;

/// What a field holds and which columns it makes. Every field may hold `-` for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text in which `-` stands for itself.
    Mark,
    /// Text without a blank.
    Label(Alphabet),
    /// A word that repeats, such as a method.
    Word,
    /// An address or a host's name, and never a list of them.
    Address,
    /// A list of addresses as in X-Forwarded-For, the client's first. Text; where no other field
    /// says who the client is, that address is the column `ip` before it.
    Addresses {
        /// Whether it makes the column `ip`.
        client: bool,
    },
    /// A whole request: method, endpoint, path, query and protocol.
    Request,
    /// A request target: endpoint, path and query.
    Target,
    /// A query, with or without its question mark.
    Query,
    /// A status of three digits.
    Status,
    /// A whole number; `-1` is nothing too.
    Integer,
    /// A number.
    Float,
    /// A duration in units of so many nanoseconds, fractions allowed; stored as milliseconds. `-1`
    /// is nothing too.
    Duration(i64),
    /// A time as `17/May/2015:10:05:03 +0000`.
    ClfTime,
    /// A time in another form.
    Time(TimeFormat),
    /// What nginx says of every server that it asked, separated by `, ` and ` : `: the text as it
    /// stands, and a number that sums it up.
    List(Items),
}

/// The signs of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// All but blanks and quotes.
    Graphic,
    /// Those of a host's name with its port, or of an address.
    Host,
    /// Letters.
    Letters,
}

/// The items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Text without blanks; no number.
    Labels,
    /// Seconds; `…_ms` is their sum in milliseconds.
    Seconds,
    /// Sizes in bytes; `…_sum` is their sum.
    Sizes,
    /// Statuses; `…_last` is that of the last server.
    Statuses,
}

impl Kind {
    /// The columns, under the field's own name where that alone says it, with their types.
    pub fn columns(&self, name: &str) -> Vec<(String, DataType)> {
        let text = |name: &str| (name.to_owned(), DataType::Utf8View);
        let word = |name: &str| (name.to_owned(), word_type());
        let own = |data_type| vec![(name.to_owned(), data_type)];
        match self {
            Self::Text | Self::Mark | Self::Label(_) | Self::Address | Self::Query => {
                own(DataType::Utf8View)
            }
            Self::Word => own(word_type()),
            Self::Addresses { client: false } => own(DataType::Utf8View),
            Self::Addresses { client: true } => vec![text("ip"), text(name)],
            Self::Request => vec![
                word("method"),
                text("endpoint"),
                text("path"),
                text("query"),
                word("protocol"),
            ],
            Self::Target => vec![text("endpoint"), text("path"), text("query")],
            Self::Status => own(DataType::Int32),
            Self::Integer | Self::Duration(_) => own(DataType::Int64),
            Self::Float => own(DataType::Float64),
            Self::ClfTime | Self::Time(_) => own(timestamp_type()),
            Self::List(items) => {
                let mut columns = own(DataType::Utf8View);
                columns.extend(match items {
                    Items::Labels => None,
                    Items::Seconds => Some((format!("{name}_ms"), DataType::Int64)),
                    Items::Sizes => Some((format!("{name}_sum"), DataType::Int64)),
                    Items::Statuses => Some((format!("{name}_last"), DataType::Int32)),
                });
                columns
            }
        }
    }

    /// Whether a value without quotes may hold this byte; none if it may hold any.
    pub fn holds(&self, byte: u8) -> Option<bool> {
        let number = byte.is_ascii_digit() || byte == b'-';
        Some(match self {
            Self::Label(alphabet) => alphabet.holds(byte),
            Self::Word => Alphabet::Graphic.holds(byte),
            Self::Address => byte.is_ascii_alphanumeric() || b".:%_-[]/".contains(&byte),
            Self::Status | Self::Integer => number,
            Self::Duration(_) | Self::Float | Self::Time(TimeFormat::Unix(_)) => {
                number || byte == b'.'
            }
            Self::ClfTime => byte.is_ascii_alphanumeric() || b"/:+- ".contains(&byte),
            Self::Time(TimeFormat::Guess) => {
                byte.is_ascii_alphanumeric() || b"-:.+".contains(&byte)
            }
            _ => return None,
        })
    }

    /// Whether a value may begin with this byte, where it is not `-`.
    pub fn begins(&self, byte: u8) -> bool {
        match self {
            Self::Target => byte == b'/',
            Self::Query => byte == b'?',
            Self::Status | Self::Integer | Self::Duration(_) | Self::Float => byte.is_ascii_digit(),
            Self::ClfTime | Self::Time(TimeFormat::Unix(_) | TimeFormat::Guess) => {
                byte.is_ascii_digit()
            }
            Self::List(Items::Seconds | Items::Sizes | Items::Statuses) => byte.is_ascii_digit(),
            _ => self.holds(byte).unwrap_or(true),
        }
    }

    /// How many bytes every value has; none if that differs.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Status => Some(3),
            Self::ClfTime => Some(crate::timestamp::CLF_BYTES),
            _ => None,
        }
    }

    /// Whether it holds a number or a time, or text of which something is to be known.
    pub fn has_value(&self) -> bool {
        let is_text = matches!(self, Self::Text | Self::Mark | Self::Label(_) | Self::Word);
        !is_text && !matches!(self, Self::Request | Self::Target | Self::Query)
    }

    /// Whether it is a time, without which a row would be lost among the others.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::ClfTime | Self::Time(_))
    }
}

impl Alphabet {
    /// Whether the byte belongs to it.
    pub fn holds(self, byte: u8) -> bool {
        match self {
            Self::Graphic => byte > b' ' && byte != b'"',
            Self::Host => byte > b' ' && !b"\"/?#,\\".contains(&byte),
            Self::Letters => byte.is_ascii_alphabetic() || byte == b'-',
        }
    }
}
