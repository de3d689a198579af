//! The interpreter: a stack, a memo, and nothing that can be called.

use std::collections::BTreeMap;

use super::{
    opcode::Opcode,
    storage::{StorageRef, View},
    value::{Global, Heap, Object, Value},
};
use crate::model::cursor::{Cursor, Problem};

const STACK_MAX: usize = 1 << 16;
const MEMO_MAX: usize = 1 << 16;

/// Runs a program and gives its objects and its result.
pub(super) fn run(program: &[u8]) -> Result<(Heap<'_>, Value<'_>), Problem> {
    let mut cursor = Cursor::new(program, 0);
    let mut machine = Machine::default();
    loop {
        match Opcode::read(&mut cursor)? {
            Opcode::Stop => break,
            opcode => machine.step(opcode)?,
        }
    }
    let result = machine.pop()?;
    Ok((machine.heap, result))
}

#[derive(Default)]
struct Machine<'p> {
    stack: Vec<Value<'p>>,
    /// Lengths of the stack where it was marked, rising.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'p>>,
    heap: Heap<'p>,
}

impl<'p> Machine<'p> {
    fn step(&mut self, opcode: Opcode<'p>) -> Result<(), Problem> {
        match opcode {
            Opcode::Nothing | Opcode::Stop => Ok(()),
            Opcode::Mark => {
                if self.marks.len() >= STACK_MAX {
                    return Err(format!("has more than {STACK_MAX} marks"));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            Opcode::Push(value) => self.push(value),
            Opcode::Dict => self.push_new(Object::Dict(Vec::new())),
            Opcode::List => self.push_new(Object::List(Vec::new())),
            Opcode::Tuple(count) => {
                let start = self.top(count)?;
                let items = self.stack.split_off(start);
                self.push_new(Object::Tuple(items))
            }
            Opcode::TupleOfMarked => {
                let items = self.marked()?;
                self.push_new(Object::Tuple(items))
            }
            Opcode::SetItem => {
                let start = self.top(2)?;
                let items = self.stack.split_off(start);
                self.set_items(&items)
            }
            Opcode::SetItems => {
                let items = self.marked()?;
                self.set_items(&items)
            }
            Opcode::Append => {
                let item = self.pop()?;
                self.append(&[item])
            }
            Opcode::Appends => {
                let items = self.marked()?;
                self.append(&items)
            }
            Opcode::Global(module, name) => self.push(Value::Global(Global::find(module, name)?)),
            Opcode::StackGlobal => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (module, name) {
                    (Value::Text(module), Value::Text(name)) => {
                        self.push(Value::Global(Global::find(module, name)?))
                    }
                    _ => Err("names a global by something that is no text".to_owned()),
                }
            }
            Opcode::Reduce => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.push(made)
            }
            Opcode::Build => self.build(),
            Opcode::PersistentId => {
                let description = self.pop()?;
                let items = self.heap.tuple(description);
                let storage = StorageRef::described(items.unwrap_or_default())?;
                self.push_new(Object::Storage(storage))
            }
            Opcode::Put(number) => self.put(number),
            Opcode::Memoize => self.put(self.memo.len() as u32),
            Opcode::Get(number) => match self.memo.get(&number) {
                Some(&value) => self.push(value),
                None => Err(format!("gets value {number}, which was not kept")),
            },
        }
    }

    fn push(&mut self, value: Value<'p>) -> Result<(), Problem> {
        if self.stack.len() >= STACK_MAX {
            return Err(format!("puts more than {STACK_MAX} values on its stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_new(&mut self, object: Object<'p>) -> Result<(), Problem> {
        let value = self.heap.add(object)?;
        self.push(value)
    }

    /// Takes the last value, which must lie behind the last mark.
    fn pop(&mut self) -> Result<Value<'p>, Problem> {
        self.top(1)?;
        self.stack.pop().ok_or_else(empty)
    }

    /// Where the last `count` values begin, all of which must lie behind the last mark.
    fn top(&self, count: usize) -> Result<usize, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(count);
        start.filter(|&start| start >= floor).ok_or_else(empty)
    }

    /// Takes the values behind the last mark, and the mark.
    fn marked(&mut self) -> Result<Vec<Value<'p>>, Problem> {
        let mark = self.marks.pop().ok_or("goes back to a mark that is not there")?;
        Ok(self.stack.split_off(mark))
    }

    /// The object that the last value is, which stays.
    fn last(&mut self) -> Result<Option<&mut Object<'p>>, Problem> {
        let start = self.top(1)?;
        match self.stack[start] {
            Value::Object(at) => Ok(Some(self.heap.get_mut(at))),
            _ => Ok(None),
        }
    }

    fn put(&mut self, number: u32) -> Result<(), Problem> {
        let value = self.stack[self.top(1)?];
        if self.memo.len() >= MEMO_MAX {
            return Err(format!("keeps more than {MEMO_MAX} values"));
        }
        self.memo.insert(number, value);
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'p>]) -> Result<(), Problem> {
        let Some(Object::Dict(entries)) = self.last()? else {
            return Err("sets an entry of something that is no dictionary".to_owned());
        };
        if !items.len().is_multiple_of(2) {
            return Err("sets a key without a value".to_owned());
        }
        entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn append(&mut self, items: &[Value<'p>]) -> Result<(), Problem> {
        let Some(Object::List(list)) = self.last()? else {
            return Err("appends to something that is no list".to_owned());
        };
        list.extend(items);
        Ok(())
    }

    fn call(&mut self, function: Value<'p>, arguments: Value<'p>) -> Result<Value<'p>, Problem> {
        let arguments = self.heap.tuple(arguments).ok_or("calls with no tuple of arguments")?;
        let Value::Global(function) = function else {
            return Err("calls something that is no function".to_owned());
        };
        match function {
            Global::OrderedDict if arguments.is_empty() => self.heap.add(Object::Dict(Vec::new())),
            Global::RebuildTensor => {
                let view = View::described(&self.heap, arguments)?;
                self.heap.add(Object::Tensor(view))
            }
            // What the parameter wraps, whether it is trained, its hooks.
            Global::RebuildParameter => match arguments {
                &[Value::Object(at), Value::Bool(_), _]
                    if matches!(self.heap.get(at), Object::Tensor(_)) =>
                {
                    Ok(Value::Object(at))
                }
                _ => Err("makes a parameter of something that is no tensor".to_owned()),
            },
            Global::OrderedDict | Global::StorageType(_) => {
                Err(format!("calls `{function}` with {} arguments", arguments.len()))
            }
        }
    }

    /// `state_dict()` gives its dictionary an attribute with versions, which is left out.
    fn build(&mut self) -> Result<(), Problem> {
        let state = self.pop()?;
        let has_attributes = match state {
            Value::Object(at) => is_dict(self.heap.get(at)),
            _ => false,
        };
        let owner_is_dict = self.last()?.is_some_and(|owner| is_dict(owner));
        if has_attributes && owner_is_dict {
            return Ok(());
        }
        Err("sets the state of something that is no dictionary".to_owned())
    }
}

fn is_dict(object: &Object<'_>) -> bool {
    matches!(object, Object::Dict(_))
}

fn empty() -> Problem {
    "takes a value that is not on its stack".to_owned()
}
