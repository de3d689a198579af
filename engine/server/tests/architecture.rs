//! Holds the house to its plan: crates depend one way, sources stay small, and the
//! repository has no stray top-level folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Which house crates each crate may depend on, outside its tests.
const ALLOWED: [(&str, &str, &[&str]); 9] = [
    ("protos", "twn-protos", &[]),
    ("index", "twn-index", &[]),
    ("engine/media", "twn-media", &[]),
    ("engine/kernels", "twn-kernels", &[]),
    ("engine/encoder", "twn-encoder", &["twn-kernels", "twn-media"]),
    ("engine/train", "twn-train", &["twn-encoder"]),
    ("engine/service", "twn-service", &["twn-encoder", "twn-index"]),
    (
        "engine/server",
        "twn",
        &["twn-encoder", "twn-media", "twn-protos", "twn-service", "twn-train"],
    ),
    ("bench", "twn-bench", &["twn-encoder", "twn-index", "twn-protos", "twn-service", "twn-train"]),
];

/// What each crate must not know.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("index", &["tokio", "tonic", "prost", "burn"]),
    ("engine/encoder", &["tokio", "tonic", "prost", "arrow", "hnsw_rs"]),
    ("engine/kernels", &["tokio", "tonic", "burn", "rayon"]),
    ("engine/media", &["tokio", "tonic", "burn"]),
    ("engine/service", &["tonic", "prost", "burn", "arrow", "hnsw_rs"]),
];

const TOP_FOLDERS: [&str; 5] = ["bench", "docs", "engine", "index", "protos"];
const MAX_LINES: usize = 500;
const UNSAFE_MODULES: [&str; 5] = [
    "bench/src/floor/simd.rs",
    "durable/map.rs",
    "engine/kernels/",
    "index/src/simd/",
    "model/mapped.rs",
];

fn root() -> PathBuf {
    fs_err::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("root")
}

fn manifest(folder: &str) -> String {
    fs_err::read_to_string(root().join(folder).join("Cargo.toml")).expect("manifest")
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest(folder).parse().expect("valid manifest");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

fn collect_rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect_rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (folder, ..) in ALLOWED {
        collect_rust_files(&root().join(folder), &mut files);
    }
    files
}

#[test]
fn crates_depend_one_way() {
    for (folder, name, allowed) in ALLOWED {
        let house = dependencies(folder).into_iter().filter(|d| d.starts_with("twn"));
        let strangers: Vec<_> = house.filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(strangers.is_empty(), "{name} must not depend on {strangers:?}");
    }
}

#[test]
fn crates_know_only_their_own_business() {
    for (folder, foreign) in FOREIGN {
        let dependencies = dependencies(folder);
        for stranger in foreign {
            assert!(!dependencies.contains(*stranger), "{folder} must not depend on {stranger}");
        }
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for (folder, name, _) in ALLOWED {
        assert!(manifest(folder).contains("[lints]\nworkspace = true"), "{name} has its own lints");
    }
}

#[test]
fn top_level_folders_are_the_planned_ones() {
    let mut folders = BTreeSet::new();
    for entry in fs_err::read_dir(root()).expect("root") {
        let entry = entry.expect("entry");
        let name = entry.file_name().into_string().expect("UTF-8 name");
        if entry.path().is_dir() && !name.starts_with('.') && name != "target" {
            folders.insert(name);
        }
    }
    assert_eq!(folders, TOP_FOLDERS.map(str::to_owned).into());
}

#[test]
fn sources_stay_small() {
    let mut long = BTreeMap::new();
    for file in rust_files() {
        let lines = fs_err::read_to_string(&file).expect("source").lines().count();
        if lines > MAX_LINES {
            long.insert(file, lines);
        }
    }
    assert!(long.is_empty(), "more than {MAX_LINES} lines, so more than one noun: {long:#?}");
}

#[test]
fn unsafe_code_stays_where_it_is_needed() {
    for file in rust_files() {
        let text = fs_err::read_to_string(&file).expect("source");
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") && !code.contains("contains(")
        });
        let path = file.display().to_string();
        assert!(
            !has_unsafe || UNSAFE_MODULES.iter().any(|name| path.contains(name)),
            "{path} has unsafe code outside the mapping and kernel modules"
        );
    }
}
