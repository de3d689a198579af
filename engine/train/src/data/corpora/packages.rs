//! Debian's package descriptions, as `apt-cache dumpavail` prints them.

use std::{collections::HashSet, path::Path};

use super::{
    super::{dice::Dice, error::DataError},
    Pair, Text, prose,
};

/// Reads the descriptions in `path` as pairs and as single texts.
///
/// # Errors
/// Fails when the file cannot be read or has no description.
pub(crate) fn read(path: &Path, dice: &mut Dice) -> Result<(Vec<Pair>, Vec<Text>), DataError> {
    let file = String::from_utf8_lossy(&fs_err::read(path)?).into_owned();
    let source = "debian-descriptions".to_owned();
    let (mut pairs, mut texts) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for entry in file.split("\n\n") {
        let Some(package) = package(entry) else { continue };
        let body = prose::cut(&package.body, prose::MAX_WORDS);
        let is_usable = body.split(' ').count() >= 6 && seen.insert(body.clone());
        if !is_usable {
            continue;
        }
        texts.push(Text { source: source.clone(), text: body.clone() });
        texts.push(Text { source: source.clone(), text: package.synopsis.clone() });
        let query = match dice.below(3) {
            0 => format!("{}: {}", package.name, package.synopsis),
            _ => package.synopsis.clone(),
        };
        let key = format!("debian {}", package.source);
        pairs.push(Pair {
            source: source.clone(),
            query,
            positives: vec![body],
            negatives: vec![],
            key,
        });
    }
    if pairs.is_empty() {
        return Err(DataError::Empty { path: path.to_owned(), what: "package descriptions" });
    }
    Ok((pairs, texts))
}

struct Package {
    name: String,
    source: String,
    synopsis: String,
    body: String,
}

fn package(entry: &str) -> Option<Package> {
    let field = |name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(|value| value.trim().to_owned())
    };
    let name = field("Package")?;
    let source = field("Source").unwrap_or_else(|| name.clone());
    let source = source.split(' ').next().unwrap_or_default().to_owned();
    let synopsis = field("Description").or_else(|| field("Description-en"))?;
    let mut body = Vec::new();
    let mut inside = false;
    for line in entry.lines() {
        if line.starts_with("Description") && !line.starts_with("Description-md5") {
            inside = true;
        } else if inside && line.starts_with(' ') {
            // A dot alone is an empty line, and the end of the first paragraph.
            if line.trim() == "." && body.len() > 2 {
                break;
            }
            if line.trim() != "." {
                body.push(line.trim());
            }
        } else {
            inside = false;
        }
    }
    Some(Package { name, source, synopsis, body: body.join(" ") })
}
