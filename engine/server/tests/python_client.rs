//! Drives the server with a client that shares no code with it: Python's grpcio, with
//! stubs generated from `protos/`. What is asserted is in `python/test_client.py`.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

/// The model is tiny; what takes long is a machine that is busy compiling.
const START_TIMEOUT: Duration = Duration::from_secs(120);

#[test]
fn a_python_client_can_do_everything() {
    let scratch = tempfile::tempdir().unwrap();
    let python = environment();
    let stubs = generate_stubs(&python, scratch.path());

    let mut server = Server::start(&scratch.path().join("data"), &[]);
    // A server that one input fills, to be refused by.
    let overloaded =
        Server::start(&scratch.path().join("busy"), &[("TWN__LIMITS__MAX_QUEUE_ITEMS", "1")]);

    let output = Command::new(&python)
        .arg(here().join("python/test_client.py"))
        .args(["--address", &server.address])
        .args(["--overloaded", &overloaded.address])
        .args(["--pid", &server.child.id().to_string()])
        .env("PYTHONPATH", &stubs)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    expect_success("test_client.py", &output);

    // The script's last act was a SIGTERM.
    let status = server.child.wait().unwrap();
    assert!(status.success(), "server ended with {status} after SIGTERM");
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The Python of a virtual environment that has the requirements, made once per target folder.
fn environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let python = folder.join("bin/python");
    let wanted = fs_err::read_to_string(here().join("python/requirements.txt")).unwrap();
    let marker = folder.join("installed.txt");
    let is_complete = fs_err::read_to_string(&marker).is_ok_and(|installed| installed == wanted);
    if is_complete && python.exists() {
        return python;
    }

    let version = Command::new("python3")
        .args(["-c", "import sys; assert sys.version_info >= (3, 9), sys.version"])
        .output()
        .expect("this test needs python3 on the PATH: install it with pip");
    expect_success("python3 is too old, at least 3.9 is needed", &version);

    let _ = fs_err::remove_dir_all(&folder);
    let has_pip = run("python3", &["-m", "venv", text(&folder)]).status.success();
    let requirements = here().join("python/requirements.txt");
    let install = ["install", "--quiet", "--disable-pip-version-check", "-r", text(&requirements)];
    let installed = if has_pip {
        run(text(&python), &[&["-m", "pip"], &install[..]].concat())
    } else {
        // Some systems split ensurepip off: use the pip that is outside.
        let _ = fs_err::remove_dir_all(&folder);
        let made = run("python3", &["-m", "venv", "--without-pip", text(&folder)]);
        expect_success("python3 -m venv", &made);
        let into = ["-m", "pip", "--python", text(&python)];
        run("python3", &[&into[..], &install[..]].concat())
    };
    expect_success("pip install of tests/python/requirements.txt (network needed)", &installed);
    fs_err::write(&marker, wanted).unwrap();
    python
}

/// Compiles `protos/` for Python and returns the folder to import from.
fn generate_stubs(python: &Path, scratch: &Path) -> PathBuf {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos");
    let stubs = scratch.join("stubs");
    fs_err::create_dir(&stubs).unwrap();
    let mut arguments = vec![
        "-m".to_owned(),
        "grpc_tools.protoc".to_owned(),
        format!("--proto_path={}", protos.display()),
        format!("--python_out={}", stubs.display()),
        format!("--grpc_python_out={}", stubs.display()),
    ];
    for entry in fs_err::read_dir(protos.join("twn/v1")).unwrap() {
        arguments.push(text(&entry.unwrap().path()).to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    expect_success("grpc_tools.protoc", &run(text(python), &arguments));
    stubs
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

#[track_caller]
fn expect_success(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's folders have UTF-8 names")
}

/// `twn serve` on a free port with the tiny model; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &Path, environment: &[(&str, &str)]) -> Self {
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama");
        let mut child = Command::new(env!("CARGO_BIN_EXE_twn"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--context-tokens", "512"])
            .args(["--data", text(data), "--model", text(&model)])
            .env("TWN__LOG__FILTER", "warn")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let (lines, events) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The pipe is read to its end, so that the server never blocks on it.
                let _ = lines.send(line);
            }
        });
        let mut server = Self { child, address: String::new() };
        let is_up = |event: &serde_json::Value| event["event"] == "serving";
        loop {
            let line = events.recv_timeout(START_TIMEOUT).expect("server says that it serves");
            let event: serde_json::Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"));
            if event["event"] == "listening" {
                server.address = event["address"].as_str().unwrap().to_owned();
            }
            if is_up(&event) {
                return server;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
