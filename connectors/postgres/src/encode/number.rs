//! Whole numbers and floating-point numbers.

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use super::{Field, Written, numeric};
use crate::catalog::Target;

type Put<T> = fn(T, &mut Vec<u8>) -> Written;

/// The writer of an array of whole numbers; none if the column takes none.
pub fn whole(array: &ArrayRef, target: &Target) -> Option<Box<dyn Field>> {
    let put: Put<i128> = match target {
        Target::Int2 => |value, out| put_int(value, i16::try_from(value), "smallint", out),
        Target::Int4 => |value, out| put_int(value, i32::try_from(value), "integer", out),
        Target::Int8 => |value, out| put_int(value, i64::try_from(value), "bigint", out),
        Target::Float4 => |value, out| put_float4(value as f64, out),
        Target::Float8 => |value, out| put_float8(value as f64, out),
        Target::Numeric => |value, out| {
            numeric::put_number(value.is_negative(), &value.unsigned_abs().to_string(), "", out);
            Ok(())
        },
        _ => return None,
    };
    Some(match array.data_type() {
        DataType::Int8 => of::<Int8Type>(array, put),
        DataType::Int16 => of::<Int16Type>(array, put),
        DataType::Int32 => of::<Int32Type>(array, put),
        DataType::Int64 => of::<Int64Type>(array, put),
        DataType::UInt8 => of::<UInt8Type>(array, put),
        DataType::UInt16 => of::<UInt16Type>(array, put),
        DataType::UInt32 => of::<UInt32Type>(array, put),
        DataType::UInt64 => of::<UInt64Type>(array, put),
        _ => return None,
    })
}

/// The writer of an array of floating-point numbers; none if the column takes none.
pub fn float<T: ArrowPrimitiveType>(array: &ArrayRef, target: &Target) -> Option<Box<dyn Field>>
where
    T::Native: Into<f64>,
{
    let put: Put<f64> = match target {
        Target::Float4 => put_float4,
        Target::Float8 => put_float8,
        Target::Numeric => |value, out| {
            numeric::put_float(value, out);
            Ok(())
        },
        _ => return None,
    };
    Some(Box::new(Number { values: array.as_primitive::<T>().clone(), put }))
}

struct Number<T: ArrowPrimitiveType, N> {
    values: PrimitiveArray<T>,
    put: Put<N>,
}

impl<T: ArrowPrimitiveType, N> Field for Number<T, N>
where
    T::Native: Into<N>,
{
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        (self.put)(self.values.value(row).into(), out)
    }
}

fn of<T: ArrowPrimitiveType>(array: &ArrayRef, put: Put<i128>) -> Box<dyn Field>
where
    T::Native: Into<i128>,
{
    Box::new(Number { values: array.as_primitive::<T>().clone(), put })
}

/// A whole number of the size that the column has.
trait ToBytes {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! to_bytes {
    ($($type:ty),*) => {
        $(impl ToBytes for $type {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        })*
    };
}

to_bytes!(i16, i32, i64);

fn put_int<T: ToBytes, E>(
    value: i128,
    fitted: Result<T, E>,
    column_type: &str,
    out: &mut Vec<u8>,
) -> Written {
    match fitted {
        Ok(fitted) => {
            fitted.put(out);
            Ok(())
        }
        Err(_) => Err(format!("{value} is out of range for {column_type}").into()),
    }
}

fn put_float4(value: f64, out: &mut Vec<u8>) -> Written {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(format!("{value} is out of range for real").into());
    }
    out.extend_from_slice(&narrow.to_be_bytes());
    Ok(())
}

fn put_float8(value: f64, out: &mut Vec<u8>) -> Written {
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}
