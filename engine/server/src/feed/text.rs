//! Plain text files, one document each, and the folders that hold them.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::record::{Bounds, Draft};

const ENDINGS: [&str; 11] =
    ["txt", "text", "md", "markdown", "rst", "adoc", "asciidoc", "org", "tex", "log", "typ"];
const DEPTH_MAX: usize = 64;

/// Tells whether a file is plain text, by its ending.
pub(crate) fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// Lists the files of a folder and the folders below it that `wanted` says yes to, in order
/// of their paths. Hidden ones and links to folders are passed over.
pub(crate) fn list(folder: &Path, wanted: impl Fn(&Path) -> bool) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            let kind = entry.file_type()?;
            if is_hidden {
                continue;
            }
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if wanted(&path) && (kind.is_file() || path.is_file()) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads one file as a document with the id given; the payload has its `path`.
///
/// # Errors
/// Says why the file is no document: unreadable, too large, not UTF-8.
pub(crate) fn read(path: &Path, id: &str, bounds: Bounds) -> Result<Draft, String> {
    let most = bounds.text_bytes as u64;
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    // Reading one byte more than allowed tells that there are more, even of a growing file.
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("the file has more than {most} bytes, which the server takes"));
    }
    let text = String::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
    let payload = Map::from_iter([("path".to_owned(), Value::from(id))]);
    Ok(Draft { id: Some(id.to_owned()), texts: vec![text], payload, ..Draft::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { message_bytes: 1_000, text_bytes: 100 };

    #[test]
    fn folders_are_listed_in_order_without_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs_err::create_dir_all(root.join("b/.git")).unwrap();
        for name in ["z.txt", "a.MD", "b/c.rst", "b/.git/d.txt", ".e.txt", "f.rs", "g"] {
            fs_err::write(root.join(name), "t").unwrap();
        }
        let found = list(root, is_text).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.MD", "b/c.rst", "z.txt"]);
    }

    #[test]
    fn files_are_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let read_of = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            read(&path, "a.txt", BOUNDS)
        };
        assert_eq!(read_of(b"\xef\xbb\xbfhello").unwrap().texts, ["hello"]);
        assert!(read_of(b"\xff\xfe").unwrap_err().contains("not UTF-8"));
        assert!(read_of(&[b'x'; 101]).unwrap_err().contains("more than 100 bytes"));
        assert!(read(&folder.path().join("b"), "b", BOUNDS).unwrap_err().contains("b"));
    }
}
