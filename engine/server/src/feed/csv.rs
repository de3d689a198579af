//! CSV and TSV with a header row.
//!
//! Rows are parsed field by field into a buffer of bounded size, so a quote that is never
//! closed costs one refused row and no memory.

use std::{
    io::{self, BufRead},
    ops::ControlFlow,
    sync::Arc,
};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Number, Value};

use super::{
    record::{Bounds, Draft, Place, Record},
    source::Fields,
};

const COLUMNS_MAX: usize = 4_096;
const START_BYTES: usize = 4_096;

/// Reads records until the end, or until `emit` breaks off.
pub(crate) fn read(
    reader: impl BufRead,
    file: &Arc<str>,
    delimiter: u8,
    fields: &Fields,
    bounds: Bounds,
    emit: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut rows = Rows::new(reader, delimiter, bounds.message_bytes);
    let Some((line, header)) = rows.next()? else { return Ok(ControlFlow::Continue(())) };
    let columns = match header.and_then(|header| Columns::new(header, fields)) {
        Ok(columns) => columns,
        Err(problem) => {
            let place = Place { file: Arc::clone(file), line: Some(line) };
            return Ok(emit(Record { place, document: Err(format!("the header {problem}")) }));
        }
    };
    while let Some((line, row)) = rows.next()? {
        let document =
            row.and_then(|row| columns.draft(row)).and_then(|draft| draft.finish(bounds));
        let place = Place { file: Arc::clone(file), line: Some(line) };
        if emit(Record { place, document }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What each column is.
struct Columns {
    names: Vec<String>,
    id: Option<usize>,
    text: usize,
    has_numbers: bool,
}

impl Columns {
    fn new(names: Vec<String>, fields: &Fields) -> Result<Self, String> {
        let find = |name: &str| names.iter().position(|column| column == name);
        let text = find(&fields.text).ok_or_else(|| {
            let names = names.join(", ");
            format!("has no column `{}`; `--text-field` names another of: {names}", fields.text)
        })?;
        if let Some(twin) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
            return Err(format!("has two columns `{}`", names[twin]));
        }
        let id = find(&fields.id);
        Ok(Self { id, text, names, has_numbers: fields.numbers })
    }

    fn draft(&self, row: Vec<String>) -> Result<Draft, String> {
        if row.len() != self.names.len() {
            let (got, want) = (row.len(), self.names.len());
            return Err(format!("the row has {got} fields, the header {want}"));
        }
        let mut draft = Draft::default();
        let mut payload = Map::new();
        for (column, value) in row.into_iter().enumerate() {
            if column == self.text {
                draft.texts.push(value);
            } else if Some(column) == self.id {
                draft.id = Some(value).filter(|id| !id.is_empty());
            } else if !value.is_empty() {
                payload.insert(self.names[column].clone(), self.value(value));
            }
        }
        Ok(Draft { payload, ..draft })
    }

    fn value(&self, text: String) -> Value {
        let number =
            if self.has_numbers { text.parse().ok().and_then(Number::from_f64) } else { None };
        number.map_or(Value::String(text), Value::Number)
    }
}

/// Rows of bounded size.
struct Rows<R> {
    reader: R,
    parser: Reader,
    max_bytes: usize,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> Rows<R> {
    fn new(reader: R, delimiter: u8, max_bytes: usize) -> Self {
        let parser = ReaderBuilder::new().delimiter(delimiter).build();
        let fields = vec![0; START_BYTES.min(max_bytes)];
        Self { reader, parser, max_bytes, fields, ends: vec![0; COLUMNS_MAX] }
    }

    /// Reads the next row and the line it begins on; `None` at the end.
    #[expect(clippy::type_complexity, reason = "a row with its line, or why it is none")]
    fn next(&mut self) -> io::Result<Option<(u64, Result<Vec<String>, String>)>> {
        let (mut written, mut ended) = (0, 0);
        let mut problem = None;
        self.skip_empty_lines()?;
        let line = self.parser.line();
        loop {
            let input = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                input => input?,
            };
            let (result, read, wrote, ends) = self.parser.read_record(
                input,
                &mut self.fields[written..],
                &mut self.ends[ended..],
            );
            self.reader.consume(read);
            (written, ended) = (written + wrote, ended + ends);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() < self.max_bytes => {
                    let grown = (self.fields.len() * 2).min(self.max_bytes);
                    self.fields.resize(grown, 0);
                }
                ReadRecordResult::OutputFull => {
                    let most = self.max_bytes;
                    problem = Some(format!(
                        "the row has more than {most} bytes, which the server takes; is a quote \
                         left open?"
                    ));
                    written = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    problem = Some(format!("the row has more than {COLUMNS_MAX} fields"));
                    ended = 0;
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let row = problem.map_or_else(|| self.texts(ended), Err);
        Ok(Some((line, row)))
    }

    /// The parser passes over empty lines only once it reads the next record, which
    /// would give the record a line before its own.
    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            let input = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                input => input?,
            };
            let empty = input.iter().take_while(|&&byte| matches!(byte, b'\n' | b'\r')).count();
            if empty == 0 {
                return Ok(());
            }
            let lines = input[..empty].iter().filter(|&&byte| byte == b'\n').count();
            self.parser.set_line(self.parser.line() + lines as u64);
            self.reader.consume(empty);
        }
    }

    fn texts(&self, count: usize) -> Result<Vec<String>, String> {
        let mut start = 0;
        let texts = self.ends[..count].iter().map(|&end| {
            let field = &self.fields[start..end];
            start = end;
            let text = std::str::from_utf8(field).map_err(|error| format!("is not UTF-8: {error}"));
            text.map(str::to_owned)
        });
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::BufReader;

    const BOUNDS: Bounds = Bounds { message_bytes: 200, text_bytes: 150 };

    fn records(text: &[u8], fields: &Fields) -> Vec<Record> {
        let mut records = Vec::new();
        let mut keep = |record| {
            records.push(record);
            ControlFlow::Continue(())
        };
        let reader = BufReader::with_capacity(5, text);
        let ended = read(reader, &Arc::from("f.csv"), b',', fields, BOUNDS, &mut keep).unwrap();
        assert!(ended.is_continue());
        records
    }

    /// Checks each row's line, and its id or a part of its problem.
    #[track_caller]
    fn check(text: &[u8], want: &[(u64, Result<&str, &str>)]) {
        let records = records(text, &Fields::default());
        assert_eq!(records.len(), want.len(), "{records:#?}");
        for (record, (line, want)) in records.iter().zip(want) {
            assert_eq!(record.place.line, Some(*line));
            match (&record.document, want) {
                (Ok(document), Ok(id)) => assert_eq!(document.id, *id),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn rows_become_documents() {
        let text = b"\xef\xbb\xbfid,text,year,note\r\na,\"x, \"\"y\"\"\nz\",2020,\r\n";
        let fields = Fields { numbers: true, ..Fields::default() };
        let document = records(text, &fields).remove(0).document.unwrap();
        assert_eq!(
            (document.id.as_str(), document.content),
            ("a", Some(crate::client::text("x, \"y\"\nz")))
        );
        let want = json!({"year": 2020.0});
        assert_eq!(
            document.payload,
            Some(crate::convert::json::to_struct(want.as_object().unwrap().clone()))
        );
    }

    #[test]
    fn values_stay_texts_unless_numbers_are_asked_for() {
        let fields = Fields::default();
        let document = records(b"id,text,zip\na,t,01234\n", &fields).remove(0).document.unwrap();
        let want = json!({"zip": "01234"});
        assert_eq!(
            document.payload,
            Some(crate::convert::json::to_struct(want.as_object().unwrap().clone()))
        );
    }

    #[test]
    fn bad_rows_do_not_stop_the_others() {
        check(b"", &[]);
        check(b"id,text\n", &[]);
        check(
            b"id,text\na,t\nb\n\nc,\xff\r\nd,\"two\nlines\"\ne,t",
            &[
                (2, Ok("a")),
                (3, Err("1 fields, the header 2")),
                (5, Err("not UTF-8")),
                (6, Ok("d")),
                (8, Ok("e")),
            ],
        );
    }

    #[test]
    fn a_huge_row_is_refused_without_being_held() {
        let mut text = b"id,text\na,\"".to_vec();
        text.extend([b'x'; 100_000]);
        text.extend(b"\"\nb,t\nc,\"never closed");
        text.extend([b'y'; 100_000]);
        check(&text, &[(2, Err("more than 200 bytes")), (3, Ok("b")), (4, Err("quote left open"))]);

        let text = [b"id,text\n".as_slice(), &b",".repeat(5_000), b"\nb,t\n"].concat();
        check(&text, &[(2, Err("more than 4096 fields")), (3, Ok("b"))]);
    }

    #[test]
    fn headers_are_checked() {
        check(b"id,body\na,t\n", &[(1, Err("no column `text`"))]);
        check(b"text,text\na,t\n", &[(1, Err("two columns `text`"))]);
    }
}
