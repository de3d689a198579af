//! Our server over a collection, asked by gRPC with vectors.

use super::contestant::HITS;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    thread,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Channel;
use twn_index::UnitVector;
use twn_protos::v1::{self, search_request::Query, search_service_client::SearchServiceClient};

/// Lines of the server's output read at most before it serves.
const LINES_MAX: usize = 1000;

/// How a server is reached.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// TCP, over loopback.
    Port,
    /// A Unix socket.
    Socket,
}

/// What the client's thread does until its answer is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It sleeps.
    Asleep,
    /// It looks for the answer again and again (decision 73 of docs/adr).
    Awake,
}

impl Waiting {
    /// Waits for an answer on a runtime of one thread, which goes to sleep when no task has
    /// anything to do: awake, one always has. Other threads get its core between two looks.
    async fn wait<T>(self, call: impl Future<Output = T>) -> T {
        let look_again = async {
            loop {
                thread::yield_now();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = call => answer,
            never = look_again, if self == Self::Awake => never,
        }
    }
}

/// A server of this program's own, ended with it.
pub(crate) struct Server {
    process: Child,
    port: String,
    socket: String,
    /// Where the socket is: a short path, since longer ones are refused.
    _folder: TempDir,
}

impl Server {
    /// Starts `twn serve` over the data folder in whose `collections` folder `collection`
    /// is, with the model that it is set up with.
    pub(crate) fn start(program: &Path, collection: &Path) -> anyhow::Result<Self> {
        let data = collection.parent().and_then(Path::parent);
        let data = data.context("the collection is in no data folder")?;
        let folder = TempDir::new()?;
        let socket = folder.path().join("twn.sock");
        let process = Command::new(program)
            .args(["serve", "--json", "--pull", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let socket = format!("unix://{}", socket.display());
        let mut server = Self { process, port: String::new(), socket, _folder: folder };
        server.port = address_of(&mut server.process)?;
        Ok(server)
    }

    fn address(&self, way: Way) -> String {
        match way {
            Way::Port => self.port.clone(),
            Way::Socket => self.socket.clone(),
        }
    }
}

impl Drop for Server {
    /// Ends it, and waits until its collections are free.
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the server could not be ended: {error}");
        }
    }
}

/// A collection of a server, asked over a connection of its own.
pub(crate) struct Served {
    runtime: Runtime,
    client: SearchServiceClient<Channel>,
    waiting: Waiting,
    collection: String,
    queries: Vec<Vec<f32>>,
    /// Which stays as long as this.
    _server: Rc<Server>,
}

impl Served {
    /// Connects to a server.
    pub(crate) fn connect(
        server: &Rc<Server>,
        (way, waiting): (Way, Waiting),
        collection: &Path,
        queries: &[UnitVector],
    ) -> anyhow::Result<Self> {
        let name = collection.file_name().and_then(|name| name.to_str());
        let collection = name.context("the collection's folder is no name")?.to_owned();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(SearchServiceClient::connect(server.address(way)))?;
        let queries = queries.iter().map(|query| query.as_slice().to_vec()).collect();
        Ok(Self { runtime, client, waiting, collection, queries, _server: Rc::clone(server) })
    }

    /// Asks all queries one after the other and returns the ids found.
    pub(crate) fn ask(&mut self, ef: usize) -> anyhow::Result<Vec<Vec<String>>> {
        let Self { runtime, client, waiting, collection, queries, .. } = self;
        let ask = async {
            let mut found = Vec::with_capacity(queries.len());
            for (number, values) in queries.iter().enumerate() {
                let request = v1::SearchRequest {
                    collection: collection.clone(),
                    query: Some(Query::Vector(v1::Vector { values: values.clone() })),
                    limit: u32::try_from(HITS)?,
                    ef_search: u32::try_from(ef)?,
                    mask: Some(v1::DocumentMask {
                        payload: Some(prost_types::FieldMask::default()),
                        omit_text: true,
                        ..v1::DocumentMask::default()
                    }),
                    ..v1::SearchRequest::default()
                };
                // The server gives up on a client that was silent while a peer took its turn.
                let answer = match waiting.wait(client.search(request.clone())).await {
                    Err(_) if number == 0 => client.search(request).await?,
                    answer => answer?,
                };
                let answer = answer.into_inner();
                let id = |hit: v1::Hit| hit.document.map(|document| document.id);
                found.push(answer.hits.into_iter().filter_map(id).collect());
            }
            anyhow::Ok(found)
        };
        runtime.block_on(ask)
    }
}

/// Where the server program is: beside this one.
pub(crate) fn program_beside() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("twn");
    ensure!(program.exists(), "{} is missing: run `cargo build --release`", program.display());
    Ok(program)
}

/// Waits until it serves.
fn address_of(server: &mut Child) -> anyhow::Result<String> {
    let output = server.stdout.take().context("the server has no output")?;
    let mut lines = BufReader::new(output).lines().take(LINES_MAX);
    while let Some(line) = lines.next().transpose()? {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["event"] == "serving" {
            let address = event["address"].as_str().context("the server gave no address")?;
            // What it says from now on is of no interest, but has to go somewhere.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(format!("http://{address}"));
        }
    }
    bail!("the server ended before it served; is its model there (`twn model pull`)?")
}
