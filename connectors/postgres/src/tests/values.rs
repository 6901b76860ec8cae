use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    ListArray, NullArray, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;

/// Writes each value into a column of a type; what the server then says it is, or why it was
/// refused.
async fn check(column_type: &str, values: ArrayRef, expect: &[&str]) {
    let Some(place) = Place::new().await else { return };
    let origin = "_split text, _position bigint, _epoch bigint";
    place.execute(&format!("CREATE TABLE {{t}} (v {column_type}, {origin})")).await;
    let schema = schema(vec![Field::new("v", values.data_type().clone(), true)]);
    let positions: Int64Array = (0..values.len() as i64).collect();
    let records = RecordBatch::try_new(schema, vec![values, Arc::new(positions)]).unwrap();
    let refused = deliver(&place, "create: false", records).await;
    let connection = place.connection().await;
    let settings = "SET timezone = 'UTC'; SET bytea_output = 'hex'";
    connection.execute("a test", settings).await.unwrap();
    let statement = format!("SELECT _position, coalesce(v::text, 'NULL') FROM {}", place.table);
    let stored = connection.query("a test", &statement, &[]).await.unwrap();
    let mut said: Vec<(i64, String)> = stored.iter().map(|row| (row.get(0), row.get(1))).collect();
    said.extend(refused.into_iter().map(|row| {
        assert_eq!(row.split.as_str(), "a.log");
        (row.reject.position, format!("! {}", row.reject.reason))
    }));
    said.sort_unstable();
    let said: Vec<_> = said.iter().map(|(_, said)| said.as_str()).collect();
    assert_eq!(said, expect, "{column_type}");
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

#[tokio::test]
async fn hostile_texts_arrive_or_are_refused() {
    let values = [
        "plain",
        "",
        "it's \"quoted\", \\ and\ttabbed\nlines",
        "\\N",
        "../../etc/passwd",
        "a\0b",
        "é ü 日本 🦀",
        "\u{FFFD}",
        "'; DROP TABLE x; --",
    ];
    let expect: Vec<&str> = values
        .iter()
        .map(|value| match value.contains('\0') {
            true => "! column \"v\": PostgreSQL cannot hold a NUL in text",
            false => value,
        })
        .collect();
    check("text", texts(&values), &expect).await;
    let plain: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    check("text", plain, &expect).await;
    let words: arrow::array::DictionaryArray<Int32Type> = values.into_iter().collect();
    check("text", Arc::new(words), &expect).await;
}

#[tokio::test]
async fn a_field_of_a_mebibyte_arrives_but_not_in_an_index() {
    let Some(place) = Place::new().await else { return };
    let mut seed = 1_u64;
    let long: String = (0..1 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + (seed >> 60) as u8)
        })
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        texts(&[&long, "short"]),
        Arc::new(Int64Array::from(vec![0, 1])),
    ];
    let records = RecordBatch::try_new(row_schema(), columns).unwrap();
    assert!(deliver(&place, "create: true", records.clone()).await.is_empty());
    assert_eq!(place.query("SELECT length(text) FROM {t} ORDER BY number").await, ["1048576", "5"]);
    let indexed = Place::new().await.unwrap();
    let settings = format!("create: {{ indexes: {{ {}i: [text] }} }}", indexed.table);
    let refused = deliver(&indexed, &settings, records).await;
    let reason = &refused[0].reject.reason;
    assert!(reason.starts_with("index row") && refused.len() == 1, "{reason}");
    assert_eq!(indexed.query("SELECT text FROM {t}").await, ["short"]);
}

#[tokio::test]
async fn texts_keep_to_their_columns() {
    let longer = "! column \"v\": longer than 3 characters";
    check("varchar(3)", texts(&["abc", "äöü", "abcd", ""]), &["abc", "äöü", longer, ""]).await;
    check("varchar", texts(&["abcd"]), &["abcd"]).await;
    check(
        "inet",
        texts(&["203.0.113.7", "2001:db8::1", "10.0.0.0/8", "10.0.0.0/33", "host", ""]),
        &[
            "203.0.113.7/32",
            "2001:db8::1/128",
            "10.0.0.0/8",
            "! column \"v\": \"10.0.0.0/33\" is no IP address",
            "! column \"v\": \"host\" is no IP address",
            "! column \"v\": \"\" is no IP address",
        ],
    )
    .await;
    let uuid = "6f1c9f5e-0b1e-4a52-9d3c-0242ac120002";
    check("uuid", texts(&[uuid, "x"]), &[uuid, "! column \"v\": \"x\" is no UUID"]).await;
    check(
        "jsonb",
        texts(&["{\"a\": [1, null]}", "{a}"]),
        &["{\"a\": [1, null]}", "! invalid input syntax for type json: Token \"a\" is invalid"],
    )
    .await;
    check("json", texts(&["{\"a\":1}"]), &["{\"a\":1}"]).await;
    let missing: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None]));
    check("text not null", missing, &["x", "! column \"v\" must not be null"]).await;
    check("integer", Arc::new(NullArray::new(1)), &["NULL"]).await;
}

#[tokio::test]
async fn whole_numbers_arrive_or_are_out_of_range() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![
        Some(i64::MIN),
        Some(-32_769),
        Some(-32_768),
        Some(0),
        None,
        Some(2_147_483_648),
    ]));
    let out =
        |value: i64, kind: &str| format!("! column \"v\": {value} is out of range for {kind}");
    let (min, big) = (i64::MIN.to_string(), "2147483648");
    check("bigint", values.clone(), &[&min, "-32769", "-32768", "0", "NULL", big]).await;
    check("numeric", values.clone(), &[&min, "-32769", "-32768", "0", "NULL", big]).await;
    check("text", values.clone(), &[&min, "-32769", "-32768", "0", "NULL", big]).await;
    let expect = [
        &*out(i64::MIN, "integer"),
        "-32769",
        "-32768",
        "0",
        "NULL",
        &out(2_147_483_648, "integer"),
    ];
    check("integer", values.clone(), &expect).await;
    let expect = [
        &*out(i64::MIN, "smallint"),
        &out(-32_769, "smallint"),
        "-32768",
        "0",
        "NULL",
        &out(2_147_483_648, "smallint"),
    ];
    check("smallint", values, &expect).await;
    let values: ArrayRef = Arc::new(UInt64Array::from(vec![0, u64::MAX, 10_000]));
    check("numeric(20)", values.clone(), &["0", "18446744073709551615", "10000"]).await;
    let too_big = "! column \"v\": 18446744073709551615 is out of range for bigint";
    check("bigint", values.clone(), &["0", too_big, "10000"]).await;
    check("double precision", values, &["0", "1.8446744073709552e+19", "10000"]).await;
    check("integer", Arc::new(Int8Array::from(vec![-128])), &["-128"]).await;
}

#[tokio::test]
async fn other_numbers_arrive_whatever_they_are() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![
        0.1,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e300,
        5e-324,
        123_456_789.000_1,
        -1e-5,
    ]));
    let huge = format!("1{}", "0".repeat(300));
    let tiny = format!("0.{}5", "0".repeat(323));
    check(
        "double precision",
        values.clone(),
        &[
            "0.1",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e+300",
            "5e-324",
            "123456789.0001",
            "-1e-05",
        ],
    )
    .await;
    check(
        "numeric",
        values.clone(),
        &["0.1", "0", "NaN", "Infinity", "-Infinity", &huge, &tiny, "123456789.0001", "-0.00001"],
    )
    .await;
    let large = format!("! column \"v\": {huge} is out of range for real");
    check(
        "real",
        values,
        &["0.1", "-0", "NaN", "Infinity", "-Infinity", &large, "0", "1.2345679e+08", "-1e-05"],
    )
    .await;
    check("double precision", Arc::new(Float32Array::from(vec![0.5])), &["0.5"]).await;
    let decimals = |values: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    check(
        "numeric",
        decimals(vec![0, 1, -12_345, 100_000_000, 99_990_001, i128::pow(10, 37) * 9 + 1], 38, 4),
        &[
            "0.0000",
            "0.0001",
            "-1.2345",
            "10000.0000",
            "9999.0001",
            "9000000000000000000000000000000000.0001",
        ],
    )
    .await;
    check("numeric", decimals(vec![7, -10], 5, -3), &["7000", "-10000"]).await;
    let overflow = "! numeric field overflow: A field with precision 4, scale 2 must round to an absolute value less than 10^2";
    check("numeric(4,2)", decimals(vec![12_349, 1_000_000], 9, 3), &["12.35", overflow]).await;
    check(
        "boolean",
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        &["true", "false", "NULL"],
    )
    .await;
}

#[tokio::test]
async fn times_of_all_years_arrive_or_are_out_of_range() {
    let out = "! column \"v\": the time is out of PostgreSQL's range";
    let year_0 = -62_167_219_200_000_000;
    let year_9999 = 253_402_300_799_999_999;
    let micros: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from(vec![
            0,
            1_431_857_103_250_001,
            year_0,
            year_9999,
            -1,
            i64::MIN,
            i64::MAX,
        ])
        .with_timezone("UTC"),
    );
    check(
        "timestamptz",
        micros.clone(),
        &[
            "1970-01-01 00:00:00+00",
            "2015-05-17 10:05:03.250001+00",
            "0001-01-01 00:00:00+00 BC",
            "9999-12-31 23:59:59.999999+00",
            "1969-12-31 23:59:59.999999+00",
            out,
            "294247-01-10 04:00:54.775807+00",
        ],
    )
    .await;
    check("timestamp(0)", micros.slice(1, 1), &["2015-05-17 10:05:03"]).await;
    let seconds: ArrayRef =
        Arc::new(TimestampSecondArray::from(vec![1, i64::MAX, -210_866_803_200, -210_866_803_201]));
    check("timestamp", seconds, &["1970-01-01 00:00:01", out, "4714-11-24 00:00:00 BC", out]).await;
    let out = "! column \"v\": the date is out of PostgreSQL's range";
    check(
        "date",
        Arc::new(Date32Array::from(vec![0, 16_572, i32::MIN, i32::MAX])),
        &["1970-01-01", "2015-05-17", out, out],
    )
    .await;
}

#[tokio::test]
async fn bytes_and_nested_values_arrive() {
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\0\xff"[..], b""]));
    check("bytea", bytes, &["\\x00ff", "\\x"]).await;
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
    ]));
    check("jsonb", list.clone(), &["[1, null]", "[]", "NULL"]).await;
    check("text", list, &["[1,null]", "[]", "NULL"]).await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a \"b\"\nc", "nul \0"]));
    let field = Arc::new(Field::new("x", DataType::Utf8, true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, texts)]));
    check(
        "jsonb",
        nested,
        &[
            "{\"x\": \"a \\\"b\\\"\\nc\"}",
            "! unsupported Unicode escape sequence: \\u0000 cannot be converted to text",
        ],
    )
    .await;
}

#[tokio::test]
async fn one_bad_row_among_thousands_is_found() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint UNIQUE CHECK (number % 777 <> 5), text text, \
             _split text, _position bigint, _epoch bigint)",
        )
        .await;
    let refused = deliver(&place, "create: false", rows(0..5000)).await;
    let positions: Vec<i64> = refused.iter().map(|row| row.reject.position).collect();
    assert_eq!(positions, [5, 782, 1559, 2336, 3113, 3890, 4667]);
    let reason = &refused[0].reject.reason;
    assert!(reason.contains("violates check constraint"), "{reason}");
    assert_eq!(place.count().await, 4993);
}

#[tokio::test]
async fn deferred_constraints_and_triggers_refuse_rows_in_time() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, text text, \
             _split text, _position bigint, _epoch bigint); INSERT INTO {t} VALUES (3, 'three'); \
             CREATE FUNCTION {t}_f() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.number = 7 THEN RAISE EXCEPTION 'no seven'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER f BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_f()",
        )
        .await;
    let refused = deliver(&place, "create: false", rows(0..10)).await;
    let reasons: Vec<_> = refused.iter().map(|row| row.reject.reason.as_str()).collect();
    let table = &place.table;
    let doubled = format!(
        "duplicate key value violates unique constraint \"{table}_number_key\": Key (number)=(3) \
         already exists"
    );
    assert_eq!(reasons, [&*doubled, "no seven"]);
    assert_eq!(place.count().await, 9);
}
