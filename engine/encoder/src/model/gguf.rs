//! The GGUF header: metadata and the table of tensors.
//!
//! Nothing in the file is believed: counts and lengths are checked against the bytes that
//! are there before anything is allocated, so a damaged file costs an error and no memory.
//! Lists stay in the file and are read on demand.

use std::{collections::HashMap, ops::Range};

use super::{
    block::{BlockKind, unsupported_name},
    cursor::{Cursor, Problem},
};

const MAGIC: [u8; 4] = *b"GGUF";
/// Version 2 and 3 differ only in that 3 allows big-endian files.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const ENTRIES_MAX: u64 = 1 << 16;
const DIMENSIONS_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 16;

/// The numbers by which the format names the types of metadata values.
mod value_type {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const LIST: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Any integer type.
    Integer(i128),
    /// Either float type.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// Values of one type, left in the file.
    List(List),
}

/// Where a list lies in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    element_type: u32,
    count: u64,
    start: usize,
}

/// One row of the table of tensors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorEntry {
    /// For example `blk.0.attn_q.weight`.
    pub(super) name: String,
    /// Sizes, outermost first (the file has them innermost first).
    pub(super) shape: Vec<usize>,
    /// How the elements are stored.
    pub(super) kind: BlockKind,
    /// The bytes, counted from the start of the file.
    pub(super) bytes: Range<usize>,
}

/// A parsed header.
#[derive(Debug)]
pub(super) struct Header {
    values: HashMap<String, Value>,
    /// In the file's order.
    pub(super) tensors: Vec<TensorEntry>,
}

impl Header {
    /// Parses and checks the header of a whole GGUF file.
    pub(super) fn parse(file: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(file, 0);
        if cursor.array::<4>()? != MAGIC {
            return Err("is no GGUF file: it does not start with `GGUF`".to_owned());
        }
        let version = cursor.u32()?;
        if VERSIONS.contains(&version.swap_bytes()) {
            return Err("is a big-endian GGUF file; supported: little-endian".to_owned());
        }
        if !VERSIONS.contains(&version) {
            return Err(format!("has GGUF version {version}; supported: 2 and 3"));
        }
        let tensor_count = limited(cursor.u64()?, "tensors")?;
        let value_count = limited(cursor.u64()?, "metadata values")?;
        let values = read_values(&mut cursor, value_count)?;
        let alignment = alignment(&values)?;
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(RawEntry::read(&mut cursor)?);
        }
        let data_start = (cursor.position() as u64).next_multiple_of(alignment);
        let tensors = tensors
            .into_iter()
            .map(|entry| entry.place(data_start, alignment, file.len()))
            .collect::<Result<Vec<_>, _>>()?;
        check_disjoint(&tensors)?;
        Ok(Self { values, tensors })
    }

    /// Looks a value up.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Reads a string that may be absent.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` is no string")),
        }
    }

    /// Reads an unsigned integer that may be absent.
    pub(super) fn unsigned(&self, key: &str) -> Result<Option<u32>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) => u32::try_from(*value)
                .map(Some)
                .map_err(|_| format!("`{key}` is {value}, which is out of range")),
            Some(_) => Err(format!("`{key}` is no integer")),
        }
    }

    /// Reads a float that may be absent.
    pub(super) fn float(&self, key: &str) -> Result<Option<f32>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value as f32)),
            Some(_) => Err(format!("`{key}` is no float")),
        }
    }

    /// Reads a boolean that may be absent.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("`{key}` is no boolean")),
        }
    }

    /// Counts the elements of a list that may be absent.
    pub(super) fn list_len(&self, key: &str) -> Option<usize> {
        match self.get(key) {
            Some(Value::List(list)) => usize::try_from(list.count).ok(),
            _ => None,
        }
    }

    /// Reads a list of strings out of the file that was parsed.
    pub(super) fn strings<'a>(&self, key: &str, file: &'a [u8]) -> Result<Vec<&'a str>, Problem> {
        let list = self.list(key, value_type::STRING, "strings")?;
        let mut cursor = Cursor::new(file, list.start);
        (0..list.count).map(|_| cursor.string()).collect()
    }

    /// Reads a list of 32-bit integers out of the file that was parsed.
    pub(super) fn integers(&self, key: &str, file: &[u8]) -> Result<Vec<i32>, Problem> {
        let list = self.list(key, value_type::I32, "32-bit integers")?;
        let mut cursor = Cursor::new(file, list.start);
        (0..list.count).map(|_| cursor.array().map(i32::from_le_bytes)).collect()
    }

    fn list(&self, key: &str, element_type: u32, what: &str) -> Result<&List, Problem> {
        match self.get(key) {
            Some(Value::List(list)) if list.element_type == element_type => Ok(list),
            Some(_) => Err(format!("`{key}` is no list of {what}")),
            None => Err(format!("`{key}` is missing")),
        }
    }
}

fn limited(count: u64, what: &str) -> Result<u64, Problem> {
    if count > ENTRIES_MAX {
        return Err(format!("claims {count} {what}, at most {ENTRIES_MAX} are supported"));
    }
    Ok(count)
}

fn read_values(cursor: &mut Cursor<'_>, count: u64) -> Result<HashMap<String, Value>, Problem> {
    let mut values = HashMap::new();
    for _ in 0..count {
        let key = cursor.string()?.to_owned();
        let value_type = cursor.u32()?;
        let value =
            read_value(cursor, value_type).map_err(|problem| format!("`{key}`: {problem}"))?;
        if values.contains_key(&key) {
            return Err(format!("has `{key}` twice"));
        }
        values.insert(key, value);
    }
    Ok(values)
}

fn read_value(cursor: &mut Cursor<'_>, value_type: u32) -> Result<Value, Problem> {
    Ok(match value_type {
        value_type::U8 => Value::Integer(u8::from_le_bytes(cursor.array()?).into()),
        value_type::I8 => Value::Integer(i8::from_le_bytes(cursor.array()?).into()),
        value_type::U16 => Value::Integer(u16::from_le_bytes(cursor.array()?).into()),
        value_type::I16 => Value::Integer(i16::from_le_bytes(cursor.array()?).into()),
        value_type::U32 => Value::Integer(cursor.u32()?.into()),
        value_type::I32 => Value::Integer(i32::from_le_bytes(cursor.array()?).into()),
        value_type::U64 => Value::Integer(cursor.u64()?.into()),
        value_type::I64 => Value::Integer(i64::from_le_bytes(cursor.array()?).into()),
        value_type::F32 => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
        value_type::F64 => Value::Float(f64::from_le_bytes(cursor.array()?)),
        value_type::BOOL => Value::Bool(cursor.array::<1>()? != [0]),
        value_type::STRING => Value::Text(cursor.string()?.to_owned()),
        value_type::LIST => Value::List(skip_list(cursor)?),
        other => return Err(format!("value type {other} is unknown")),
    })
}

/// Notes where a list is and moves past it, which proves that all of it is there.
fn skip_list(cursor: &mut Cursor<'_>) -> Result<List, Problem> {
    let element_type = cursor.u32()?;
    let count = cursor.u64()?;
    let start = cursor.position();
    let element_bytes = match element_type {
        value_type::U8 | value_type::I8 | value_type::BOOL => 1,
        value_type::U16 | value_type::I16 => 2,
        value_type::U32 | value_type::I32 | value_type::F32 => 4,
        value_type::U64 | value_type::I64 | value_type::F64 => 8,
        value_type::STRING => {
            // Every string has a length of eight bytes, so a wild count fails at the file's end.
            for _ in 0..count {
                cursor.string()?;
            }
            return Ok(List { element_type, count, start });
        }
        value_type::LIST => return Err("lists of lists are not supported".to_owned()),
        other => return Err(format!("element type {other} is unknown")),
    };
    let bytes = count.checked_mul(element_bytes).ok_or_else(|| format!("has {count} elements"))?;
    cursor.take(bytes)?;
    Ok(List { element_type, count, start })
}

fn alignment(values: &HashMap<String, Value>) -> Result<u64, Problem> {
    match values.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::Integer(value)) => u64::try_from(*value)
            .ok()
            .filter(|alignment| alignment.is_power_of_two() && *alignment <= ALIGNMENT_MAX)
            .ok_or_else(|| format!("`general.alignment` is {value}, no power of two in range")),
        Some(_) => Err("`general.alignment` is no integer".to_owned()),
    }
}

/// A row of the table before it is known where the data starts.
struct RawEntry {
    name: String,
    shape: Vec<usize>,
    kind: BlockKind,
    offset: u64,
}

impl RawEntry {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Problem> {
        let name = cursor.string()?.to_owned();
        let dimensions = cursor.u32()?;
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(format!("tensor `{name}` has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = usize::try_from(cursor.u64()?).ok().filter(|&size| size > 0);
            shape.push(size.ok_or_else(|| format!("tensor `{name}` has an impossible size"))?);
        }
        shape.reverse();
        let number = cursor.u32()?;
        let kind = BlockKind::from_gguf(number).ok_or_else(|| {
            format!(
                "tensor `{name}` is stored as {}; supported: F32, F16, BF16, Q4_0, Q4_1, Q8_0",
                unsupported_name(number)
            )
        })?;
        Ok(Self { name, shape, kind, offset: cursor.u64()? })
    }

    /// Finds the tensor's bytes and checks that the file has them.
    fn place(self, data_start: u64, alignment: u64, file: usize) -> Result<TensorEntry, Problem> {
        let Self { name, shape, kind, offset } = self;
        if !offset.is_multiple_of(alignment) {
            return Err(format!("tensor `{name}` starts at {offset}, not aligned to {alignment}"));
        }
        let (columns, outer) =
            shape.split_last().map_or((1, &[][..]), |(last, rest)| (*last, rest));
        let bytes = kind
            .row_bytes(columns)
            .and_then(|row| outer.iter().try_fold(row, |bytes, &size| bytes.checked_mul(size)))
            .ok_or_else(|| format!("tensor `{name}` has an impossible shape {shape:?}"))?;
        let start = data_start.checked_add(offset).and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(bytes)?));
        match range.filter(|range| range.end <= file) {
            Some(bytes) => Ok(TensorEntry { name, shape, kind, bytes }),
            None => Err(format!(
                "is cut short: tensor `{name}` has {bytes} bytes at {offset} of the data, \
                 the file has {file} bytes; fetch it again"
            )),
        }
    }
}

fn check_disjoint(tensors: &[TensorEntry]) -> Result<(), Problem> {
    let mut order: Vec<&TensorEntry> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.bytes.start);
    for pair in order.windows(2) {
        if pair[1].bytes.start < pair[0].bytes.end {
            return Err(format!("tensors `{}` and `{}` overlap", pair[0].name, pair[1].name));
        }
    }
    Ok(())
}
