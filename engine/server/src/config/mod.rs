//! Configuration: what can be set, its defaults, and where each value came from.
//!
//! Layers, each over the one before: defaults, one TOML file, `TWN__SECTION__KEY`
//! environment variables, flags. Invariant: a key that nothing reads is an error in
//! every layer, so a misspelt one never passes for a setting.

mod check;
mod layers;
mod places;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use twn_encoder::{Activations, EncoderError, LoadOptions, Precision, model};
use twn_service::{
    BatchOptions, CacheOptions, EngineOptions, Limits, PolicyDefaults, PressureOptions,
};

use crate::serve::{DEFAULT_DRAIN, DEFAULT_MAX_MESSAGE_BYTES, ServeOptions};

pub use check::problems;
pub use layers::{ConfigError, Flag, Layers, Loaded, Setting};
pub use places::{default_data, find_file};

/// The port that servers listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 50_871;
/// Default of [`ServerSection::linger_us`]: longer than most clients of one machine take.
const DEFAULT_LINGER_US: u64 = 200;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The listening server.
    pub server: ServerSection,
    /// Where collections are kept.
    pub data: DataSection,
    /// The encoder's model.
    pub model: ModelSection,
    /// When to think, where a request does not say.
    pub reasoning: PolicyDefaults,
    /// Every limit a client can meet.
    pub limits: Limits,
    /// What one batch of the encoder may hold.
    pub batch: BatchOptions,
    /// What load and deadlines do to thinking.
    pub pressure: PressureOptions,
    /// How many recent embeddings the server remembers.
    pub cache: CacheOptions,
    /// The threads that search.
    pub search: SearchSection,
    /// The commands that talk to a server.
    pub client: ClientSection,
    /// The log on standard error.
    pub log: LogSection,
}

/// The listening server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Path of a Unix socket to listen on as well, which clients of this machine reach sooner:
    /// `unix:///run/twn.sock`.
    pub socket: Option<PathBuf>,
    /// Bytes of the largest message in either direction.
    pub max_message_bytes: usize,
    /// Seconds that calls may take to finish once the server is told to stop.
    pub drain_s: u64,
    /// Microseconds that a thread stays awake after an answer for the next request of a client
    /// that asks one after the other; with 0 it goes to sleep at once.
    pub linger_us: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            socket: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            drain_s: DEFAULT_DRAIN.as_secs(),
            linger_us: DEFAULT_LINGER_US,
        }
    }
}

/// Where collections are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSection {
    /// A folder; created when missing.
    pub path: PathBuf,
}

impl Default for DataSection {
    fn default() -> Self {
        Self { path: default_data() }
    }
}

/// The encoder's model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// Name of a model that `twn model pull` fetches.
    pub name: String,
    /// A model of one's own, instead of a named one: a GGUF file or a Hugging Face folder.
    pub path: Option<PathBuf>,
    /// An adapter folder; without one the default model has `twn-mini`'s and any other fresh,
    /// untrained ones.
    pub adapters: Option<PathBuf>,
    /// `cpu` (the fused pass), `flex` (the portable module on the CPU) or `cuda:N`.
    pub device: String,
    /// How exactly the fused pass keeps the weights.
    pub precision: Precision,
    /// How finely the fused pass rounds activations before quantised weights.
    pub activations: Activations,
    /// Threads of the fused pass; 0 takes one for each core.
    pub threads: usize,
    /// The most tokens that prompt, thought and queries may have together.
    pub context_tokens: usize,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            name: model::DEFAULT.name.to_owned(),
            path: None,
            adapters: None,
            device: "cpu".to_owned(),
            precision: Precision::Auto,
            activations: Activations::default(),
            threads: 0,
            context_tokens: 2_048,
        }
    }
}

/// Where the configured model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelPlace {
    /// At this path.
    At(PathBuf),
    /// Not pulled yet.
    Missing(&'static model::CatalogueEntry),
}

impl ModelSection {
    /// Says how to load the encoder on `model`.
    pub fn load_options(&self, model: &Path) -> LoadOptions {
        LoadOptions {
            adapters: self.adapters.clone(),
            device: self.device.clone(),
            precision: self.precision,
            activations: self.activations,
            threads: self.threads,
            context_tokens: self.context_tokens,
            ..LoadOptions::new(model)
        }
    }

    /// Finds the model without fetching anything.
    ///
    /// # Errors
    /// Fails when the name is unknown or no home folder can be told.
    pub fn place(&self) -> Result<ModelPlace, EncoderError> {
        if let Some(path) = &self.path {
            return Ok(ModelPlace::At(path.clone()));
        }
        let entry = named(&self.name)?;
        let found = model::find(&model::default_home()?, entry);
        Ok(found.map_or(ModelPlace::Missing(entry), ModelPlace::At))
    }
}

/// Finds a model of the catalogue.
///
/// # Errors
/// Names the models that there are.
pub fn named(name: &str) -> Result<&'static model::CatalogueEntry, EncoderError> {
    model::catalogue_entry(name).ok_or_else(|| {
        let known: Vec<_> = model::CATALOGUE.iter().map(|entry| entry.name).collect();
        let known = known.join(", ");
        let problem = format!("there is no model `{name}`; give a path, or one of: {known}");
        EncoderError::Option { option: "model", problem }
    })
}

/// The threads that search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSection {
    /// How many there are.
    pub threads: usize,
}

impl Default for SearchSection {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads: cores.min(16) }
    }
}

/// The commands that talk to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSection {
    /// The server's address, for example `http://127.0.0.1:50871`.
    pub server: String,
}

impl Default for ClientSection {
    fn default() -> Self {
        Self { server: format!("http://{}:{DEFAULT_PORT}", Ipv4Addr::LOCALHOST) }
    }
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// What is logged: a level, or directives such as `info,twn_service=debug`.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { filter: "info,hnsw_rs=warn".to_owned(), format: LogFormat::Text }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Gathers what a server needs to know.
    pub fn serve_options(&self, model: &Path) -> ServeOptions {
        ServeOptions {
            listen: self.server.listen,
            socket: self.server.socket.clone(),
            encoder: self.model.load_options(model),
            engine: EngineOptions {
                data: self.data.path.clone(),
                search_threads: self.search.threads,
                policy: self.reasoning,
                batch: self.batch,
                pressure: self.pressure,
                cache: self.cache,
                limits: self.limits.clone(),
            },
            max_message_bytes: self.server.max_message_bytes,
            drain: Duration::from_secs(self.server.drain_s),
            linger: None,
        }
    }
}
