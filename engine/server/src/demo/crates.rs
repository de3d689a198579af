//! The crates in cargo's registry folder, as documents.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::paragraph::first_paragraph;
use crate::feed::{Bounds, Draft, Place, Record};

const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const README_BYTES_MAX: u64 = 4 << 20;
/// Bytes of one document: so short that a CPU takes a third of a second for it.
const TEXT_BYTES_MAX: usize = 350;
/// Parts of larger crates, which say little about themselves.
const PARTS: [&str; 6] = ["-sys", "-derive", "-macros", "-macro", "-impl", "_derive"];

/// Cargo's folder of unpacked crates; `None` when there is no telling.
pub(crate) fn registry() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cargo = variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    Some(cargo.join("registry").join("src"))
}

/// A crate's description of itself.
#[derive(Debug, Clone, PartialEq)]
struct Crate {
    name: String,
    version: String,
    description: String,
    keywords: Vec<String>,
    license: Option<String>,
    folder: PathBuf,
}

/// Reads up to `max` crates, evenly out of all there are, the newest version of each.
pub(crate) fn records(registry: &Path, max: usize, bounds: Bounds) -> Vec<Record> {
    let found: Vec<Crate> = newest(registry).into_values().collect();
    let count = found.len().min(max);
    let chosen = (0..count).map(|i| &found[i * found.len() / count]);
    chosen.map(|one| one.record(bounds)).collect()
}

/// Finds the newest version of every crate that describes itself, by name. What can't be
/// read is passed over: it is cargo's folder, not the user's.
fn newest(registry: &Path) -> BTreeMap<String, Crate> {
    let mut newest: BTreeMap<String, Crate> = BTreeMap::new();
    for index in folders(registry) {
        for folder in folders(&index) {
            let Some(found) = read(&folder) else { continue };
            let is_newer = newest
                .get(&found.name)
                .is_none_or(|known| rank(&known.version) < rank(&found.version));
            if is_newer {
                newest.insert(found.name.clone(), found);
            }
        }
    }
    newest
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn read(folder: &Path) -> Option<Crate> {
    let manifest = read_bounded(&folder.join("Cargo.toml"), MANIFEST_BYTES_MAX)?;
    let manifest: toml::Table = manifest.parse().ok()?;
    let package = manifest.get("package")?.as_table()?;
    let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let keywords = package.get("keywords").and_then(toml::Value::as_array);
    let keywords = keywords.into_iter().flatten().filter_map(toml::Value::as_str);
    let found = Crate {
        name: text("name")?,
        version: text("version")?,
        description: text("description").filter(|text| !text.trim().is_empty())?,
        keywords: keywords.map(str::to_owned).collect(),
        license: text("license"),
        folder: folder.to_owned(),
    };
    let is_part = PARTS.iter().any(|part| found.name.ends_with(part));
    (!is_part).then_some(found)
}

fn read_bounded(path: &Path, max: u64) -> Option<String> {
    let is_small = fs_err::metadata(path).is_ok_and(|metadata| metadata.len() <= max);
    if is_small { fs_err::read_to_string(path).ok() } else { None }
}

/// Orders versions: by their numbers, a release above its candidates.
fn rank(version: &str) -> (Vec<u64>, bool) {
    let core = version.split('+').next().unwrap_or_default();
    let (numbers, candidate) = core.split_once('-').map_or((core, ""), |(core, rest)| (core, rest));
    let numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.collect(), candidate.is_empty())
}

impl Crate {
    fn record(&self, bounds: Bounds) -> Record {
        let mut payload = Map::new();
        payload.insert("name".to_owned(), json!(self.name));
        payload.insert("version".to_owned(), json!(self.version));
        if !self.keywords.is_empty() {
            payload.insert("keywords".to_owned(), json!(self.keywords));
        }
        if let Some(license) = &self.license {
            payload.insert("license".to_owned(), Value::from(license.as_str()));
        }
        let (id, texts) = (Some(self.name.clone()), vec![self.text()]);
        let draft = Draft { id, texts, payload, ..Draft::default() };
        let file = self.folder.join("Cargo.toml").to_string_lossy().as_ref().into();
        Record { place: Place { file, line: None }, document: draft.finish(bounds) }
    }

    /// Name, description, and the beginning of the README where it says something else.
    fn text(&self) -> String {
        let description = self.description.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut text = format!("{}: {description}", self.name);
        let readme = read_bounded(&self.folder.join("README.md"), README_BYTES_MAX);
        let paragraph = readme.and_then(|readme| first_paragraph(&readme));
        if let Some(paragraph) =
            paragraph.filter(|paragraph| !description.contains(paragraph.as_str()))
        {
            text.push('\n');
            text.push_str(&paragraph);
        }
        shorten(&mut text, TEXT_BYTES_MAX);
        text
    }
}

/// Cuts a text after the last whole word within `max` bytes.
fn shorten(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    let end = text.floor_char_boundary(max);
    let end = text[..end].rfind(char::is_whitespace).unwrap_or(end);
    text.truncate(end);
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { message_bytes: 100_000, text_bytes: 10_000 };

    fn registry_of(crates: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, version, rest) in crates {
            let place = folder.path().join("index").join(format!("{name}-{version}"));
            fs_err::create_dir_all(&place).unwrap();
            let manifest = format!("[package]\nname = '{name}'\nversion = '{version}'\n{rest}\n");
            fs_err::write(place.join("Cargo.toml"), manifest).unwrap();
            fs_err::write(
                place.join("README.md"),
                format!("# {name}\n\nWhat {name} is good for, at length."),
            )
            .unwrap();
        }
        folder
    }

    #[test]
    fn crates_become_documents() {
        let registry = registry_of(&[
            ("b", "0.9.0", "description = 'old'"),
            ("b", "0.10.0", "description = 'A  bee.'\nkeywords = ['fly']\nlicense = 'MIT'"),
            ("b", "0.10.0-rc.1", "description = 'candidate'"),
            ("a", "1.0.0", ""),
            ("a-sys", "1.0.0", "description = 'bindings'"),
        ]);
        fs_err::create_dir_all(registry.path().join("index/broken-1.0.0")).unwrap();
        let records = records(registry.path(), 10, BOUNDS);
        assert_eq!(records.len(), 1, "{records:#?}");
        let document = records[0].document.clone().unwrap();
        let text = "b: A bee.\nWhat b is good for, at length.";
        assert_eq!(
            (document.id.as_str(), document.content),
            ("b", Some(crate::client::text(text)))
        );
        let payload = crate::convert::json::from_struct(document.payload, "payload").unwrap();
        let want = json!({"name": "b", "version": "0.10.0", "keywords": ["fly"], "license": "MIT"});
        assert_eq!(Value::Object(payload), want);
    }

    #[test]
    fn a_choice_is_even_and_bounded() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let registry = registry_of(&names.map(|name| (name, "1.0.0", "description = 'd'")));
        let ids = |max| -> Vec<String> {
            let records = records(registry.path(), max, BOUNDS);
            records.into_iter().map(|record| record.document.unwrap().id).collect()
        };
        assert_eq!(ids(3), ["a", "c", "e"]);
        assert_eq!(ids(100).len(), 6);
        assert!(records(Path::new("/nowhere"), 3, BOUNDS).is_empty());
    }

    #[test]
    fn texts_are_cut_between_words() {
        let mut text = "one two three".to_owned();
        shorten(&mut text, 9);
        assert_eq!(text, "one two…");
        shorten(&mut text, 100);
        assert_eq!(text, "one two…");
        let mut wide = "ääää".to_owned();
        shorten(&mut wide, 3);
        assert_eq!(wide, "ä…");
    }
}
