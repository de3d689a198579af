//! The instructions of a pickle that files of tensors have, protocols 2 to 5.

use super::value::Value;
use crate::model::cursor::{Cursor, Problem};

/// The newest protocol there is.
const PROTOCOL_MAX: u8 = 5;

/// One instruction with its argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opcode<'p> {
    /// Changes nothing: a protocol's number, a frame.
    Nothing,
    /// Ends the program.
    Stop,
    /// Marks the stack.
    Mark,
    /// Puts a value on the stack.
    Push(Value<'p>),
    /// Puts an empty dictionary on the stack.
    Dict,
    /// Puts an empty list on the stack.
    List,
    /// Makes a tuple of the last so many values.
    Tuple(usize),
    /// Makes a tuple of all values behind the mark.
    TupleOfMarked,
    /// Sets an entry.
    SetItem,
    /// Sets all entries behind the mark.
    SetItems,
    /// Appends a value.
    Append,
    /// Appends all values behind the mark.
    Appends,
    /// Names a global.
    Global(&'p str, &'p str),
    /// Names a global by two texts on the stack.
    StackGlobal,
    /// Calls a global.
    Reduce,
    /// Sets an object's attributes.
    Build,
    /// Finds a storage by its description.
    PersistentId,
    /// Keeps a copy of the last value under a number.
    Put(u32),
    /// Keeps it under the next number.
    Memoize,
    /// Puts a kept value on the stack.
    Get(u32),
}

impl<'p> Opcode<'p> {
    /// Reads the next instruction.
    pub(super) fn read(cursor: &mut Cursor<'p>) -> Result<Self, Problem> {
        let at = cursor.position();
        let [code] = cursor.array()?;
        Ok(match code {
            0x80 => {
                let [protocol] = cursor.array()?;
                if !(2..=PROTOCOL_MAX).contains(&protocol) {
                    let problem = format!("has a pickle of protocol {protocol}");
                    return Err(format!("{problem}; supported: 2 to {PROTOCOL_MAX}"));
                }
                Self::Nothing
            }
            // A frame says how much may be read ahead.
            0x95 => cursor.u64().map(|_| Self::Nothing)?,
            b'.' => Self::Stop,
            b'(' => Self::Mark,
            b'N' => Self::Push(Value::None),
            0x88 => Self::Push(Value::Bool(true)),
            0x89 => Self::Push(Value::Bool(false)),
            b'J' => Self::Push(Value::Int(i64::from(cursor.array().map(i32::from_le_bytes)?))),
            b'K' => {
                let [byte] = cursor.array()?;
                Self::Push(Value::Int(i64::from(byte)))
            }
            b'M' => Self::Push(Value::Int(i64::from(cursor.array().map(u16::from_le_bytes)?))),
            0x8a => Self::Push(Value::Int(long(cursor)?)),
            b'G' => Self::Push(Value::Float(cursor.array().map(f64::from_be_bytes)?)),
            b'X' => {
                let length = u64::from(cursor.u32()?);
                Self::Push(Value::Text(text(cursor, length)?))
            }
            0x8c => {
                let [length] = cursor.array()?;
                Self::Push(Value::Text(text(cursor, u64::from(length))?))
            }
            b'}' => Self::Dict,
            b']' => Self::List,
            b')' => Self::Tuple(0),
            0x85 => Self::Tuple(1),
            0x86 => Self::Tuple(2),
            0x87 => Self::Tuple(3),
            b't' => Self::TupleOfMarked,
            b's' => Self::SetItem,
            b'u' => Self::SetItems,
            b'a' => Self::Append,
            b'e' => Self::Appends,
            b'c' => Self::Global(line(cursor)?, line(cursor)?),
            0x93 => Self::StackGlobal,
            b'R' => Self::Reduce,
            b'b' => Self::Build,
            b'Q' => Self::PersistentId,
            b'q' => {
                let [number] = cursor.array()?;
                Self::Put(u32::from(number))
            }
            b'r' => Self::Put(cursor.u32()?),
            0x94 => Self::Memoize,
            b'h' => {
                let [number] = cursor.array()?;
                Self::Get(u32::from(number))
            }
            b'j' => Self::Get(cursor.u32()?),
            other => {
                return Err(format!(
                    "has instruction 0x{other:02x} at byte {at} of its pickle, which files of \
                     tensors do not have"
                ));
            }
        })
    }
}

/// Reads a whole number of at most eight bytes in two's complement.
fn long(cursor: &mut Cursor<'_>) -> Result<i64, Problem> {
    let [length] = cursor.array()?;
    let bytes = cursor.take(u64::from(length))?;
    let mut wide = match bytes.last() {
        Some(last) if last & 0x80 != 0 => [0xff; 8],
        _ => [0; 8],
    };
    let Some(low) = wide.get_mut(..bytes.len()) else {
        return Err(format!("has a number of {length} bytes"));
    };
    low.copy_from_slice(bytes);
    Ok(i64::from_le_bytes(wide))
}

fn text<'p>(cursor: &mut Cursor<'p>, length: u64) -> Result<&'p str, Problem> {
    let bytes = cursor.take(length)?;
    std::str::from_utf8(bytes).map_err(|_| "has a text that is not UTF-8".to_owned())
}

/// Reads up to the end of a line, which is left out.
fn line<'p>(cursor: &mut Cursor<'p>) -> Result<&'p str, Problem> {
    let mut ahead = cursor.clone();
    let mut length = 0;
    loop {
        let [byte] = ahead.array()?;
        if byte == b'\n' {
            break;
        }
        length += 1;
    }
    let line = text(cursor, length)?;
    cursor.take(1)?;
    Ok(line)
}
