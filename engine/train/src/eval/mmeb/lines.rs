//! JSON lines, strictly: a line that cannot be used ends the reading with its number.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::eval::EvalError;

const LINE_BYTES_MAX: u64 = 16 << 20;

/// Calls `take` with every line that is not blank, and its number from 1.
pub(super) fn each_line<T: DeserializeOwned>(
    path: &Path,
    mut take: impl FnMut(usize, T) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let mut reader = BufReader::new(fs_err::File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let bytes = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)? as u64;
        if bytes == 0 {
            break;
        }
        if bytes > LINE_BYTES_MAX {
            return Err(EvalError::line(path, number, "is longer than 16 MiB"));
        }
        if !line.trim_ascii().is_empty() {
            let value = serde_json::from_slice(&line);
            take(number, value.map_err(|e| EvalError::line(path, number, e.to_string()))?)?;
        }
    }
    Ok(())
}

/// One text or several: the data sets have both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            None(()),
            One(String),
            Many(Vec<Option<String>>),
        }
        Ok(Self(match OneOrMany::deserialize(from)? {
            OneOrMany::None(()) => Vec::new(),
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts.into_iter().map(Option::unwrap_or_default).collect(),
        }))
    }
}

/// Ids are numbers in some of the data sets and words in others.
pub(super) fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!("{other} is no id"))),
    }
}

/// Texts that may be null.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}
