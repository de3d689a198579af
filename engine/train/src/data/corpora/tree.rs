//! Documentation trees: a folder with one folder a package, in it HTML, manual pages, plain
//! text, dictionaries and Python source, compressed or not.

use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{
    super::{dice::hash, error::DataError},
    Pair, Text,
    markup::{self, Block},
    prose,
};

/// Bytes of one file, unpacked; the rest is not read.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Files of one package.
const MAX_FILES: usize = 20_000;
/// Files that say nothing of their subject.
const LEGAL: [&str; 7] =
    ["copyright", "changelog", "license", "licence", "authors", "genindex", "news"];

/// Reads every package of `folder`: pairs of heading and paragraph, and paragraphs alone.
/// At most `max_texts` texts a package.
///
/// # Errors
/// Fails when the folder cannot be listed. A file that cannot be read is left out.
pub(crate) fn read(folder: &Path, max_texts: usize) -> Result<(Vec<Pair>, Vec<Text>), DataError> {
    let (mut pairs, mut texts) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for package in sorted(folder)? {
        let source = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        list(&package, &mut files)?;
        let first_text = texts.len();
        for file in files {
            if texts.len() - first_text >= max_texts {
                break;
            }
            collect(&source, &blocks(&file), &mut seen, &mut pairs, &mut texts);
        }
    }
    Ok((pairs, texts))
}

fn collect(
    source: &str,
    blocks: &[Block],
    seen: &mut HashSet<u64>,
    pairs: &mut Vec<Pair>,
    texts: &mut Vec<Text>,
) {
    let mut heading: Option<&str> = None;
    for block in blocks {
        match block {
            Block::Heading(text) => heading = Some(text),
            Block::Paragraph(text) => {
                for piece in prose::pieces(text) {
                    if !prose::is_prose(&piece) || !seen.insert(hash(&piece)) {
                        continue;
                    }
                    if let Some(title) = heading.take().filter(|title| prose::is_heading(title)) {
                        let title = title.trim_end_matches('#').trim();
                        pairs.push(Pair {
                            source: source.to_owned(),
                            query: title.to_owned(),
                            positives: vec![piece.clone()],
                            negatives: Vec::new(),
                            key: format!("{source} {title}"),
                        });
                    }
                    texts.push(Text { source: source.to_owned(), text: piece });
                }
            }
        }
    }
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths: Vec<PathBuf> =
        fs_err::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in sorted(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if path.is_symlink() || LEGAL.iter().any(|legal| name.starts_with(legal)) {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else if files.len() < MAX_FILES {
            files.push(path);
        }
    }
    Ok(())
}

/// The blocks of a file, none if it is of no known kind.
fn blocks(path: &Path) -> Vec<Block> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let plain = name.trim_end_matches(".gz").trim_end_matches(".dz");
    let extension = plain.rsplit('.').next().unwrap_or_default();
    let is_manual = path.components().any(|part| part.as_os_str() == "man");
    let reader: fn(&str) -> Vec<Block> = match extension {
        "html" | "htm" | "xhtml" | "docbook" | "xml" => markup::html,
        "txt" | "rst" | "md" | "info" => markup::text,
        "dict" => markup::dictionary,
        "py" => markup::doc_strings,
        _ if is_manual => markup::roff,
        _ if plain.starts_with("readme") => markup::text,
        _ => return Vec::new(),
    };
    let Ok(file) = fs_err::File::open(path) else { return Vec::new() };
    let mut bytes = Vec::new();
    let is_packed = name.ends_with(".gz") || name.ends_with(".dz");
    let read = if is_packed {
        MultiGzDecoder::new(file).take(MAX_FILE_BYTES).read_to_end(&mut bytes)
    } else {
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)
    };
    if read.is_err() {
        return Vec::new();
    }
    reader(&String::from_utf8_lossy(&bytes))
}
