//! Evaluation sets in BEIR's layout.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::Path,
};

use serde_json::json;

use super::{error::DataError, example::Kind};

/// A query with its documents' positions.
#[derive(Debug, Clone)]
struct Query {
    kind: Kind,
    family: String,
    text: String,
    thought: Option<String>,
    relevant: Vec<usize>,
}

/// An evaluation set: documents, each once, and queries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collection {
    documents: Vec<(Kind, String)>,
    positions: HashMap<String, usize>,
    queries: Vec<Query>,
}

impl Collection {
    /// Adds a document, if it is not there, and says where it is.
    pub(crate) fn document(&mut self, kind: Kind, text: &str) -> usize {
        let next = self.documents.len();
        let position = *self.positions.entry(text.to_owned()).or_insert(next);
        if position == next {
            self.documents.push((kind, text.to_owned()));
        }
        position
    }

    /// Adds a query of documents that are there.
    pub(crate) fn query(
        &mut self,
        (kind, family): (Kind, &str),
        text: &str,
        thought: Option<&str>,
        relevant: Vec<usize>,
    ) {
        let (family, text) = (family.to_owned(), text.to_owned());
        let thought = thought.map(str::to_owned);
        self.queries.push(Query { kind, family, text, thought, relevant });
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let moved: Vec<usize> =
            other.documents.iter().map(|(kind, text)| self.document(*kind, text)).collect();
        for query in &other.queries {
            let relevant = query.relevant.iter().map(|position| moved[*position]).collect();
            self.queries.push(Query { relevant, ..query.clone() });
        }
    }

    /// Every text: documents, then queries.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let documents = self.documents.iter().map(|(_, text)| text.as_str());
        documents.chain(self.queries.iter().map(|query| query.text.as_str()))
    }

    /// Documents and queries.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.documents.len(), self.queries.len())
    }

    /// Writes the set into `folder`. Ids say nothing of kind or split beyond the number.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), DataError> {
        fs_err::create_dir_all(folder.join("qrels"))?;
        let mut corpus =
            std::io::BufWriter::new(fs_err::File::create(folder.join("corpus.jsonl"))?);
        for (index, (kind, text)) in self.documents.iter().enumerate() {
            let id = format!("d{index}");
            let line = json!({"_id": id, "title": "", "text": text, "metadata": {"kind": kind}});
            writeln!(corpus, "{line}")?;
        }
        corpus.flush()?;
        let mut queries =
            std::io::BufWriter::new(fs_err::File::create(folder.join("queries.jsonl"))?);
        let mut judgments =
            std::io::BufWriter::new(fs_err::File::create(folder.join("qrels/test.tsv"))?);
        writeln!(judgments, "query-id\tcorpus-id\tscore")?;
        for (index, query) in self.queries.iter().enumerate() {
            let mut metadata = BTreeMap::from([("kind", json!(query.kind))]);
            metadata.insert("family", json!(query.family));
            if let Some(thought) = &query.thought {
                metadata.insert("thought", json!(thought));
            }
            let line =
                json!({"_id": format!("q{index}"), "text": query.text, "metadata": metadata});
            writeln!(queries, "{line}")?;
            for document in &query.relevant {
                writeln!(judgments, "q{index}\td{document}\t1")?;
            }
        }
        queries.flush()?;
        judgments.flush()?;
        Ok(())
    }
}
