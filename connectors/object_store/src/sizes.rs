//! How much each row holds, before it is written and compressed.
//!
//! A function of the row alone, whatever batch it came in: objects are cut by it, and a replay must
//! cut them where the first run did.

use std::sync::Arc;

use arrow::array::{AnyDictionaryArray, Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;

/// What a row counts for its place alone.
const ROW_BYTES: u64 = 8;

/// The size of each row of a batch.
pub fn of_rows(batch: &RecordBatch) -> Vec<u64> {
    let mut sizes = vec![ROW_BYTES; batch.num_rows()];
    for column in batch.columns() {
        add(column, &mut sizes);
    }
    sizes
}

fn add(column: &ArrayRef, sizes: &mut [u64]) {
    match column.data_type() {
        DataType::Utf8View => {
            let lengths = column.as_string_view().iter().map(|text| text.map_or(0, str::len));
            add_lengths(lengths, sizes);
        }
        DataType::BinaryView => {
            let lengths = column.as_binary_view().iter().map(|bytes| bytes.map_or(0, <[u8]>::len));
            add_lengths(lengths, sizes);
        }
        DataType::Utf8 => add_lengths(offset_lengths(column.as_string::<i32>().offsets()), sizes),
        DataType::LargeUtf8 => {
            add_lengths(offset_lengths(column.as_string::<i64>().offsets()), sizes);
        }
        DataType::Binary => add_lengths(offset_lengths(column.as_binary::<i32>().offsets()), sizes),
        DataType::LargeBinary => {
            add_lengths(offset_lengths(column.as_binary::<i64>().offsets()), sizes);
        }
        DataType::Dictionary(..) => add_words(column.as_any_dictionary(), sizes),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            add_items(list.values(), list.offsets(), sizes);
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            add_items(list.values(), list.offsets(), sizes);
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            add_items(&entries, map.offsets(), sizes);
        }
        DataType::Struct(_) => {
            for inner in column.as_struct().columns() {
                add(inner, sizes);
            }
        }
        other => {
            let width = other.primitive_width().unwrap_or(1) as u64;
            sizes.iter_mut().for_each(|size| *size += width);
        }
    }
}

fn add_words(words: &dyn AnyDictionaryArray, sizes: &mut [u64]) {
    if words.values().is_empty() {
        return;
    }
    let mut of_words = vec![0; words.values().len()];
    add(words.values(), &mut of_words);
    for (row, key) in words.normalized_keys().into_iter().enumerate() {
        if words.is_valid(row) {
            sizes[row] += of_words[key];
        }
    }
}

fn add_lengths(lengths: impl Iterator<Item = usize>, sizes: &mut [u64]) {
    for (size, length) in sizes.iter_mut().zip(lengths) {
        *size += length as u64;
    }
}

fn offset_lengths<O: OffsetSizeTrait>(offsets: &[O]) -> impl Iterator<Item = usize> {
    offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize())
}

fn add_items<O: OffsetSizeTrait>(items: &ArrayRef, offsets: &[O], sizes: &mut [u64]) {
    let mut of_items = vec![0; items.len()];
    add(items, &mut of_items);
    for (size, pair) in sizes.iter_mut().zip(offsets.windows(2)) {
        *size += of_items[pair[0].as_usize()..pair[1].as_usize()].iter().sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        DictionaryArray, Int32Array, ListArray, StringArray, StringViewArray, StructArray,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    #[test]
    fn a_row_has_its_size_whatever_stands_beside_it() {
        let words: DictionaryArray<Int32Type> = ["GET", "DELETE", "GET"].into_iter().collect();
        let lists = vec![Some(vec![Some(1), None]), None, Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let inner = StringArray::from(vec!["ab", "", "abcd"]);
        let field = arrow::datatypes::Field::new("inner", DataType::Utf8, false);
        let nested = StructArray::from(vec![(Arc::new(field), Arc::new(inner) as ArrayRef)]);
        let batch = RecordBatch::try_from_iter([
            ("word", Arc::new(words) as ArrayRef),
            ("view", Arc::new(StringViewArray::from(vec!["", "a text longer than views", "x"]))),
            ("number", Arc::new(Int32Array::from(vec![1, 2, 3]))),
            ("list", Arc::new(lists)),
            ("nested", Arc::new(nested)),
        ])
        .expect("columns of one length");
        let whole = of_rows(&batch);
        assert_eq!(whole, [8 + 3 + 4 + 16 + 2, 8 + 6 + 24 + 4, 8 + 3 + 1 + 4 + 4]);
        for (row, size) in whole.iter().enumerate() {
            assert_eq!(of_rows(&batch.slice(row, 1)), [*size]);
        }
    }
}
