//! Reading columns as nouns.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result};

/// A column that holds an id, a digest, or anything else with a text form.
pub(crate) fn parsed<T: FromStr>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: String = row.try_get(column).map_err(|_| corrupt(column))?;
    text.parse().map_err(|_| corrupt(column))
}

pub(crate) fn parsed_opt<T: FromStr>(row: &SqliteRow, column: &str) -> Result<Option<T>> {
    let text: Option<String> = row.try_get(column).map_err(|_| corrupt(column))?;
    text.map(|text| text.parse().map_err(|_| corrupt(column)))
        .transpose()
}

pub(crate) fn text(row: &SqliteRow, column: &str) -> Result<String> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn text_opt(row: &SqliteRow, column: &str) -> Result<Option<String>> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn bytes(row: &SqliteRow, column: &str) -> Result<Vec<u8>> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn bytes_opt(row: &SqliteRow, column: &str) -> Result<Option<Vec<u8>>> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn big_opt(row: &SqliteRow, column: &str) -> Result<Option<i64>> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn big(row: &SqliteRow, column: &str) -> Result<i64> {
    row.try_get(column).map_err(|_| corrupt(column))
}

pub(crate) fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T> {
    T::try_from(big(row, column)?).map_err(|_| corrupt(column))
}

pub(crate) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    serde_json::from_str(&text(row, column)?).map_err(|_| corrupt(column))
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records of this crate always serialise")
}

/// A filter over a list: `None` lets everything pass, so that `($1 IS NULL OR x IN (SELECT value FROM json_each($1)))`
/// serves with and without it.
pub(crate) fn list<T: Display>(values: &[T]) -> Option<String> {
    (!values.is_empty())
        .then(|| to_json(&values.iter().map(ToString::to_string).collect::<Vec<_>>()))
}

/// A filter where an empty list means "exactly none of them".
pub(crate) fn exact<T: Display>(values: Option<&Vec<T>>) -> Option<String> {
    values.map(|values| to_json(&values.iter().map(ToString::to_string).collect::<Vec<_>>()))
}

pub(crate) fn corrupt(what: &str) -> Error {
    Error::Corrupt {
        what: what.to_owned(),
    }
}
