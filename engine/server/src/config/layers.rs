//! The layers of the configuration and how they are laid over each other.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Serialized, Toml},
    util::nest,
    value::{Dict, Empty, Map, Value},
};

use super::{Config, check::problems};

const PREFIX: &str = "TWN__";
const SEPARATOR: &str = "__";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A value that a flag of the command line sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    key: &'static str,
    name: &'static str,
    value: Value,
}

impl Flag {
    /// Sets the key, a section and a name joined by a dot, from the flag of that name.
    pub fn new(key: &'static str, name: &'static str, value: impl Into<Value>) -> Self {
        Self { key, name, value: value.into() }
    }

    /// Takes the key's value away.
    pub fn unset(key: &'static str, name: &'static str) -> Self {
        Self { key, name, value: Value::from(Empty::None) }
    }
}

/// What is laid over the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layers {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix `TWN__` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A configuration, and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    figment: Figment,
}

/// One value of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Section and name, joined by a dot.
    pub key: String,
    /// Null when it is not set.
    pub value: serde_json::Value,
    /// `default`, `file PATH`, `environment variable NAME` or `flag NAME`.
    pub origin: String,
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the configuration can't be used: {}", .problems.join("; "))]
pub struct ConfigError {
    /// Everything that is wrong, with its place.
    pub problems: Vec<String>,
}

impl Layers {
    /// Reads this process's environment, and the file given or else the one found.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let file = file.or_else(super::find_file);
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, environment: std::env::vars_os().filter_map(text).collect(), flags }
    }

    /// Lays the layers over each other and checks the values.
    ///
    /// # Errors
    /// Lists every unknown key, value of a wrong type and value out of its range.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let failed = |problem: String| ConfigError { problems: vec![problem] };
        let defaults = Serialized::defaults(Config::default());
        let mut figment = Figment::from(Layer::new("default", defaults));
        if let Some(path) = &self.file {
            let text = read_file(path).map_err(|error| failed(error.to_string()))?;
            let name = format!("file {}", path.display());
            figment = figment.merge(Layer::new(name, Toml::string(&text)));
        }
        for (name, text) in self.environment {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            // An empty variable is how shells and service files spell "not set".
            if text.is_empty() {
                continue;
            }
            let key = key.to_lowercase().replace(SEPARATOR, ".");
            let value = Single { value: typed(&text, figment.find_value(&key).ok()), key };
            figment = figment.merge(Layer::new(format!("environment variable {name}"), value));
        }
        for Flag { key, name, value } in self.flags {
            let value = Single { key: key.to_owned(), value };
            figment = figment.merge(Layer::new(format!("flag {name}"), value));
        }

        let config: Config = figment.extract().map_err(|error| ConfigError {
            problems: error.into_iter().map(|error| describe(&error)).collect(),
        })?;
        match problems(&config) {
            problems if problems.is_empty() => Ok(Loaded { config, figment }),
            problems => Err(ConfigError { problems }),
        }
    }
}

impl Loaded {
    /// Lists every value with its origin, in the order of the sections.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        // A configuration is plain data, so it always has a JSON form.
        let json = serde_json::to_value(&self.config).unwrap_or_default();
        for (section, values) in json.as_object().into_iter().flatten() {
            for (name, value) in values.as_object().into_iter().flatten() {
                let key = format!("{section}.{name}");
                let origin = self.origin(&key);
                settings.push(Setting { key, value: value.clone(), origin });
            }
        }
        settings
    }

    /// Tells where a value came from.
    pub fn origin(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        metadata.map_or_else(|| "default".to_owned(), |metadata| metadata.name.to_string())
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let bytes = fs_err::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        let problem = format!("{} has {bytes} bytes, at most {FILE_BYTES_MAX}", path.display());
        return Err(std::io::Error::other(problem));
    }
    fs_err::read_to_string(path)
}

/// Reads a variable's text as the kind of value that the key has now, so that a name
/// made of digits stays a name.
fn typed(text: &str, now: Option<Value>) -> Value {
    match now {
        Some(Value::String(..)) => Value::from(text),
        // Parsing takes whatever is no number, bool or list as a string.
        _ => text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
    }
}

/// Says what is wrong, at which key, and who set it.
fn describe(error: &Error) -> String {
    let mut message = match &error.kind {
        Kind::UnknownField(name, known) => {
            let mut text = format!("`{name}` is no key");
            if !known.is_empty() {
                let _ = write!(text, " (there are: {})", known.join(", "));
            }
            text
        }
        kind => kind.to_string(),
    };
    if !error.path.is_empty() {
        message = format!("`{}`: {message}", error.path.join("."));
    }
    if let Some(metadata) = &error.metadata {
        let _ = write!(message, ", set by {}", metadata.name);
    }
    message
}

/// A provider under a name that tells the user where its values are.
struct Layer<P> {
    name: String,
    inner: P,
}

impl<P: Provider> Layer<P> {
    fn new(name: impl Into<String>, inner: P) -> Self {
        Self { name: name.into(), inner }
    }
}

impl<P: Provider> Provider for Layer<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.inner.data()
    }
}

/// One key and its value.
struct Single {
    key: String,
    value: Value,
}

impl Provider for Single {
    fn metadata(&self) -> Metadata {
        Metadata::named("value")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = nest(&self.key, self.value.clone()).into_dict();
        let dict = dict.ok_or_else(|| Error::from("the name of the key is empty".to_owned()))?;
        Ok(Profile::Default.collect(dict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(
        toml: &str,
        environment: &[(&str, &str)],
        flags: Vec<Flag>,
    ) -> (tempfile::TempDir, Layers) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("twn.toml");
        fs_err::write(&file, toml).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let layers = Layers { file: Some(file), environment: environment.collect(), flags };
        (folder, layers)
    }

    #[track_caller]
    fn refused(toml: &str, environment: &[(&str, &str)], want: &[&str]) {
        let (_folder, layers) = layers(toml, environment, vec![]);
        let problems = layers.load().unwrap_err().problems.join("\n");
        for part in want {
            assert!(problems.contains(part), "`{part}` is not in: {problems}");
        }
    }

    #[test]
    fn later_layers_win_and_every_value_knows_its_origin() {
        let toml = "[server]\ndrain_s = 1\nmax_message_bytes = 4096\n[data]\npath = '/a'\n[search]\nthreads = 3";
        let environment = [
            ("TWN__DATA__PATH", "/b"),
            ("TWN__SERVER__MAX_MESSAGE_BYTES", "8192"),
            ("TWN__LIMITS__MAX_IDS", ""),
            ("TWN_HOME", "ignored"),
        ];
        let (folder, layers) =
            layers(toml, &environment, vec![Flag::new("data.path", "--data", "/c")]);
        let loaded = layers.load().unwrap();

        let config = &loaded.config;
        assert_eq!((config.server.drain_s, config.server.max_message_bytes), (1, 8_192));
        assert_eq!((config.search.threads, config.data.path.to_str()), (3, Some("/c")));
        assert_eq!(config.limits, twn_service::Limits::default());

        let file = format!("file {}", folder.path().join("twn.toml").display());
        for (key, origin) in [
            ("server.listen", "default"),
            ("model.adapters", "default"),
            ("server.drain_s", file.as_str()),
            ("server.max_message_bytes", "environment variable TWN__SERVER__MAX_MESSAGE_BYTES"),
            ("data.path", "flag --data"),
        ] {
            assert_eq!(loaded.origin(key), origin, "{key}");
        }
    }

    #[test]
    fn without_layers_there_are_the_defaults() {
        let loaded = Layers::default().load().unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.settings().iter().all(|setting| setting.origin == "default"));
        assert!(loaded.settings().len() > 30);
    }

    #[test]
    fn texts_made_of_digits_stay_texts() {
        let (_folder, layers) = layers("", &[("TWN__MODEL__DEVICE", "17")], vec![]);
        assert_eq!(layers.load().unwrap().config.model.device, "17");
    }

    #[test]
    fn a_flag_can_unset_what_a_file_sets() {
        let flag = Flag::unset("model.path", "--model");
        let (_folder, layers) = layers("[model]\npath = '/m'", &[], vec![flag]);
        assert_eq!(layers.load().unwrap().config.model.path, None);
    }

    #[test]
    fn unusable_configurations_are_explained() {
        refused("[server]\nlisten_on = 1", &[], &["`listen_on` is no key", "twn.toml"]);
        refused("[sever]\n", &[], &["`sever` is no key", "server"]);
        refused("[server", &[], &["twn.toml"]);
        refused("", &[("TWN__LIMITS__MAX_HATS", "1")], &["max_hats", "TWN__LIMITS__MAX_HATS"]);
        refused("", &[("TWN__SERVER__LISTEN", "here")], &["server.listen", "TWN__SERVER__LISTEN"]);
        refused("[search]\nthreads = 'two'", &[], &["search.threads", "twn.toml"]);
        refused("[reasoning]\nmode = 'sometimes'", &[], &["sometimes", "auto"]);
        refused("[limits]\nmax_parts = 0\n[search]\nthreads = 0", &[], &["max_parts", "threads"]);
        let missing = Layers { file: Some("/nowhere/twn.toml".into()), ..Layers::default() };
        assert!(missing.load().unwrap_err().to_string().contains("/nowhere/twn.toml"));
    }
}
