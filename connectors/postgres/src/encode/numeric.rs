//! PostgreSQL's `numeric`: groups of four decimal digits.
//!
//! The form is that of `numeric_recv`: number of groups, weight of the first group, sign, digits
//! after the point, then the groups, none of them zero at either end.

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::Decimal128Type;

use super::{Field, Written};

const GROUP: usize = 4;
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// The writer of an array of decimal numbers with so many digits after the point.
pub fn decimal(array: &ArrayRef, scale: i8) -> Box<dyn Field> {
    Box::new(Decimal { values: array.as_primitive::<Decimal128Type>().clone(), scale })
}

struct Decimal {
    values: Decimal128Array,
    scale: i8,
}

impl Field for Decimal {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value = self.values.value(row);
        let mut digits = value.unsigned_abs().to_string();
        let after_point = usize::try_from(self.scale).unwrap_or(0);
        if self.scale < 0 && value != 0 {
            digits.push_str(&"0".repeat(usize::from(self.scale.unsigned_abs())));
        }
        if digits.len() < after_point {
            digits.insert_str(0, &"0".repeat(after_point - digits.len()));
        }
        let (whole, fraction) = digits.split_at(digits.len() - after_point);
        put_number(value.is_negative(), whole, fraction, out);
        Ok(())
    }
}

/// Appends a floating-point number with the digits that tell it from every other one.
pub fn put_float(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return put_special(NAN, out);
    }
    if value.is_infinite() {
        return put_special(if value > 0.0 { INFINITY } else { MINUS_INFINITY }, out);
    }
    let digits = value.abs().to_string();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    put_number(value < 0.0, whole, fraction, out);
}

/// Appends a number whose decimal digits before and after the point are given.
pub fn put_number(negative: bool, whole: &str, fraction: &str, out: &mut Vec<u8>) {
    let lead = (GROUP - whole.len() % GROUP) % GROUP;
    let before_point = (lead + whole.len()) / GROUP;
    let digits = std::iter::repeat_n(b'0', lead).chain(whole.bytes()).chain(fraction.bytes());
    let mut groups: Vec<u16> = Vec::with_capacity(before_point + fraction.len() / GROUP + 1);
    for (at, digit) in digits.enumerate() {
        let unit = 10_u16.pow(u32::try_from(GROUP - 1 - at % GROUP).unwrap_or(0));
        if at % GROUP == 0 {
            groups.push(0);
        }
        if let Some(group) = groups.last_mut() {
            *group += u16::from(digit - b'0') * unit;
        }
    }
    let zeros_before = groups.iter().take_while(|group| **group == 0).count();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let groups = groups.get(zeros_before..).unwrap_or_default();
    let weight = before_point as i64 - 1 - zeros_before as i64;
    let (weight, sign) = match groups.is_empty() {
        true => (0, POSITIVE),
        false => (weight, if negative { NEGATIVE } else { POSITIVE }),
    };
    put_head(groups.len(), weight, sign, fraction.len(), out);
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

fn put_special(sign: u16, out: &mut Vec<u8>) {
    put_head(0, 0, sign, 0, out);
}

/// The numbers that come here have some hundred digits at most, so that all fit.
fn put_head(groups: usize, weight: i64, sign: u16, after_point: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(groups as u16).to_be_bytes());
    out.extend_from_slice(&(weight as i16).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(after_point as u16).to_be_bytes());
}
