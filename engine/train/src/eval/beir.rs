//! A test collection in the BEIR layout: `corpus.jsonl`, `queries.jsonl` and
//! `qrels/test.tsv` in one folder.
//!
//! Strict: a line that cannot be used ends the reading with its number. A judgment of a
//! document or query that the files do not have is an error too, since a silent gap
//! would change the figures.

use std::{
    collections::HashMap,
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{error::EvalError, metrics::Relevance};

/// Bytes of one line; a longer one is refused.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Documents of one collection.
const MAX_DOCUMENTS: usize = 20_000_000;
const QRELS_HEADER: &str = "query-id\tcorpus-id\tscore";

/// A document of a test collection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BeirDocument {
    /// Its name in the judgments.
    #[serde(rename = "_id")]
    pub id: String,
    /// May be empty.
    #[serde(default)]
    pub title: String,
    /// May be empty; a document without text and title is never retrieved by an encoder.
    pub text: String,
}

impl BeirDocument {
    /// What is encoded and indexed: title and text with a space between, as BEIR joins them.
    pub fn content(&self) -> String {
        format!("{} {}", self.title, self.text).trim().to_owned()
    }
}

/// A query with its judgments.
#[derive(Debug, Clone, PartialEq)]
pub struct BeirQuery {
    /// Its name in the judgments.
    pub id: String,
    /// What is asked.
    pub text: String,
    /// The relevant documents, by position in the corpus.
    pub relevance: Relevance,
    /// What kind of query it is, where the data says so in `metadata.kind`.
    pub kind: Option<String>,
    /// A written thought that works out what the query leaves open, where the data has one
    /// in `metadata.thought`.
    pub thought: Option<String>,
}

/// A test collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Beir {
    /// The folder's name.
    pub name: String,
    /// The corpus, in the file's order.
    pub documents: Vec<BeirDocument>,
    /// The queries that have a relevant document, in the file's order.
    pub queries: Vec<BeirQuery>,
    /// Queries of the file that were left out, having no relevant document.
    pub skipped_queries: usize,
    /// Judgments read, those of grade 0 included.
    pub judgments: usize,
}

/// A line of `queries.jsonl`.
#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "_id")]
    id: String,
    text: String,
    /// Of any shape; only its `kind` and its `thought` are read.
    #[serde(default)]
    metadata: serde_json::Value,
}

impl Beir {
    /// Reads the folder `path`.
    ///
    /// # Errors
    /// Names the file and the line that cannot be used: JSON of another shape, an id
    /// that is empty or used twice, a query without text, a judgment that is not three
    /// columns or names an unknown document or query.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let documents = read_documents(&path.join("corpus.jsonl"))?;
        let queries = read_queries(&path.join("queries.jsonl"))?;
        let qrels = path.join("qrels").join("test.tsv");
        let (mut grades, judgments) = read_judgments(&qrels, &documents, &queries)?;

        let read = queries.len();
        let queries: Vec<BeirQuery> = queries
            .into_iter()
            .zip(&mut grades)
            .map(|(QueryLine { id, text, metadata }, grades)| {
                let relevance = Relevance::new(std::mem::take(grades));
                let word = |key: &str| Some(metadata.get(key)?.as_str()?.to_owned());
                let thought = word("thought").filter(|text| !text.trim().is_empty());
                BeirQuery { id, text, relevance, kind: word("kind"), thought }
            })
            .filter(|query| query.relevance.relevant() > 0)
            .collect();
        if queries.is_empty() {
            return Err(EvalError::data(&qrels, "no query has a relevant document"));
        }

        let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = name.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let skipped_queries = read - queries.len();
        Ok(Self { name, documents, queries, skipped_queries, judgments })
    }

    /// Hex SHA-256 over every document's id and content, in order.
    pub fn corpus_digest(&self) -> String {
        let mut hash = Sha256::new();
        for document in &self.documents {
            // Lengths keep "ab" + "c" and "a" + "bc" apart.
            for part in [document.id.as_str(), &document.content()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn read_documents(path: &Path) -> Result<Vec<BeirDocument>, EvalError> {
    let mut documents: Vec<BeirDocument> = Vec::new();
    let mut seen = HashMap::new();
    for_each_line(path, |line, text| {
        let document: BeirDocument = parse(path, line, text)?;
        claim_id(path, line, &document.id, &mut seen)?;
        if documents.len() == MAX_DOCUMENTS {
            return Err(EvalError::line(
                path,
                line,
                format!("more than {MAX_DOCUMENTS} documents"),
            ));
        }
        documents.push(document);
        Ok(())
    })?;
    if documents.is_empty() {
        return Err(EvalError::data(path, "has no document"));
    }
    Ok(documents)
}

fn read_queries(path: &Path) -> Result<Vec<QueryLine>, EvalError> {
    let mut queries: Vec<QueryLine> = Vec::new();
    let mut seen = HashMap::new();
    for_each_line(path, |line, text| {
        let query: QueryLine = parse(path, line, text)?;
        claim_id(path, line, &query.id, &mut seen)?;
        if query.text.trim().is_empty() {
            let problem = format!("query `{}` has no text", query.id);
            return Err(EvalError::line(path, line, problem));
        }
        queries.push(query);
        Ok(())
    })?;
    Ok(queries)
}

/// Reads the grades of each query's documents, and counts the judgments.
fn read_judgments(
    path: &Path,
    documents: &[BeirDocument],
    queries: &[QueryLine],
) -> Result<(Vec<HashMap<u32, i32>>, usize), EvalError> {
    let document_at = positions(documents.iter().map(|document| document.id.as_str()));
    let query_at = positions(queries.iter().map(|query| query.id.as_str()));
    let mut grades = vec![HashMap::new(); queries.len()];
    let mut judgments = 0;
    for_each_line(path, |line, text| {
        if line == 1 {
            if text.trim_end() == QRELS_HEADER {
                return Ok(());
            }
            let problem = format!("header is {text:?}, expected {QRELS_HEADER:?}");
            return Err(EvalError::line(path, line, problem));
        }
        let problem = |problem: String| EvalError::line(path, line, problem);
        let columns: Vec<&str> = text.trim_end_matches('\r').split('\t').collect();
        let [query, document, grade] = columns[..] else {
            return Err(problem(format!("{} columns, expected 3", columns.len())));
        };
        let query_index =
            *query_at.get(query).ok_or_else(|| problem(format!("unknown query `{query}`")))?;
        let document_index = *document_at
            .get(document)
            .ok_or_else(|| problem(format!("unknown document `{document}`")))?;
        let grade: i32 = grade
            .trim()
            .parse()
            .map_err(|_| problem(format!("score {grade:?} is not a whole number")))?;
        if grades[query_index as usize].insert(document_index, grade).is_some() {
            return Err(problem(format!("document `{document}` is judged twice for `{query}`")));
        }
        judgments += 1;
        Ok(())
    })?;
    Ok((grades, judgments))
}

fn positions<'a>(ids: impl Iterator<Item = &'a str>) -> HashMap<&'a str, u32> {
    ids.zip(0..).collect()
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, line: usize, text: &'a str) -> Result<T, EvalError> {
    serde_json::from_str(text).map_err(|error| EvalError::line(path, line, error.to_string()))
}

/// Notes an id, which must be new and not empty.
fn claim_id(
    path: &Path,
    line: usize,
    id: &str,
    seen: &mut HashMap<String, usize>,
) -> Result<(), EvalError> {
    if id.is_empty() {
        return Err(EvalError::line(path, line, "`_id` is empty"));
    }
    match seen.insert(id.to_owned(), line) {
        None => Ok(()),
        Some(first) => {
            let problem = format!("`_id` {id:?} was used in line {first} already");
            Err(EvalError::line(path, line, problem))
        }
    }
}

/// Calls `each` with the number, counted from 1, and the text of every line that is not blank.
fn for_each_line(
    path: &Path,
    mut each: impl FnMut(usize, &str) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let mut reader = std::io::BufReader::new(fs_err::File::open(PathBuf::from(path))?);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        if read as u64 > MAX_LINE_BYTES {
            let problem = format!("longer than {MAX_LINE_BYTES} bytes");
            return Err(EvalError::line(path, line, problem));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| EvalError::line(path, line, format!("not UTF-8: {error}")))?
            .trim_end_matches(['\n', '\r']);
        if !text.trim().is_empty() {
            each(line, text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: &str = "{\"_id\": \"a\", \"title\": \"A wing\", \"text\": \"lifts\"}\n\
                          {\"_id\": \"b\", \"text\": \"a heavy rotor\", \"metadata\": {}}\n";
    const QUERIES: &str = "{\"_id\": \"1\", \"text\": \"what lifts\", \
                           \"metadata\": {\"kind\": \"plain\"}}\n\n\
                           {\"_id\": \"2\", \"text\": \"never judged\"}\n";
    const QRELS: &str = "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n";

    fn read(corpus: &str, queries: &str, qrels: &str) -> Result<Beir, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("qrels")).unwrap();
        fs_err::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
        fs_err::write(folder.path().join("queries.jsonl"), queries).unwrap();
        fs_err::write(folder.path().join("qrels/test.tsv"), qrels).unwrap();
        Beir::read(folder.path())
    }

    #[track_caller]
    fn check_refused(corpus: &str, queries: &str, qrels: &str, want: &str) {
        let message = read(corpus, queries, qrels).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} does not have {want:?}");
    }

    #[test]
    fn a_folder_is_read_whole() {
        let data = read(CORPUS, QUERIES, QRELS).unwrap();
        assert_eq!(data.documents.len(), 2);
        assert_eq!(data.documents[0].content(), "A wing lifts");
        assert_eq!(data.documents[1].content(), "a heavy rotor");
        assert_eq!(data.skipped_queries, 1);
        assert_eq!(data.judgments, 2);
        let [query] = &data.queries[..] else { panic!("{:?}", data.queries) };
        assert_eq!((query.id.as_str(), query.text.as_str()), ("1", "what lifts"));
        assert_eq!(query.kind.as_deref(), Some("plain"));
        assert_eq!((query.relevance.grade(0), query.relevance.grade(1)), (2, 0));
    }

    #[test]
    fn errors_name_file_line_and_value() {
        check_refused("{\"_id\": \"a\"}\n", QUERIES, QRELS, "corpus.jsonl, line 1: missing field");
        check_refused(&format!("{CORPUS}nonsense\n"), QUERIES, QRELS, "corpus.jsonl, line 3:");
        check_refused(&CORPUS.replace("\"b\"", "\"a\""), QUERIES, QRELS, "line 2: `_id` \"a\"");
        check_refused("", QUERIES, QRELS, "has no document");
        let blank = QUERIES.replace("never judged", " ");
        check_refused(CORPUS, &blank, QRELS, "queries.jsonl, line 3: query `2` has no text");
        check_refused(CORPUS, QUERIES, "1\ta\t2\n", "test.tsv, line 1: header");
        check_refused(CORPUS, QUERIES, &format!("{QRELS}1 a 2\n"), "line 4: 1 columns");
        check_refused(CORPUS, QUERIES, &format!("{QRELS}9\ta\t2\n"), "line 4: unknown query `9`");
        check_refused(CORPUS, QUERIES, &format!("{QRELS}1\tz\t2\n"), "line 4: unknown document");
        check_refused(CORPUS, QUERIES, &format!("{QRELS}2\ta\tx\n"), "line 4: score \"x\"");
        check_refused(CORPUS, QUERIES, &format!("{QRELS}1\ta\t1\n"), "line 4: document `a` is");
        let nothing = "query-id\tcorpus-id\tscore\n1\ta\t0\n";
        check_refused(CORPUS, QUERIES, nothing, "no query has a relevant document");
    }

    #[test]
    fn a_missing_or_binary_file_is_named() {
        let missing = Beir::read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/corpus.jsonl"), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("corpus.jsonl"), b"\n\xff\xfe\n").unwrap();
        let binary = Beir::read(folder.path()).unwrap_err().to_string();
        assert!(binary.contains("corpus.jsonl, line 2: not UTF-8"), "{binary}");
    }

    #[test]
    fn the_digest_depends_on_every_document() {
        let digest = |corpus: &str| read(corpus, QUERIES, QRELS).unwrap().corpus_digest();
        assert_eq!(digest(CORPUS).len(), 64);
        assert_ne!(digest(CORPUS), digest(&CORPUS.replace("rotor", "motor")));
    }
}
