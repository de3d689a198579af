//! Where configuration and data lie when nobody says.

use std::path::{Path, PathBuf};

const FILE_NAME: &str = "twn.toml";

/// Finds the configuration file: `twn.toml` in the working folder, else
/// `twn/twn.toml` in the user's configuration folder.
pub fn find_file() -> Option<PathBuf> {
    let own = user_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("twn"));
    let places = [Some(PathBuf::new()), own];
    places.into_iter().flatten().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file())
}

/// The default data folder: `data` in `TWN_HOME`, else `twn` in the user's data
/// folder, else `twn-data` in the working folder.
pub fn default_data() -> PathBuf {
    if let Some(home) = variable("TWN_HOME") {
        return home.join("data");
    }
    let user = user_folder("XDG_DATA_HOME", ".local/share");
    user.map_or_else(|| PathBuf::from("twn-data"), |folder| folder.join("twn"))
}

/// A folder of the base directory specification, which ignores relative paths.
fn user_folder(name: &str, below_home: &str) -> Option<PathBuf> {
    variable(name)
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(below_home)))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
