//! The collections of one server: a folder each, opened at start, found by name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use twn_encoder::EncoderInfo;
use twn_index::{
    Collection, CollectionConfig, CompactionConfig, HnswConfig, IndexError, Quantization, Schema,
    Stats,
};

use crate::{error::ServiceError, limits::Limits, writer::Writer};

const MAX_NAME_BYTES: usize = 64;

/// What a new collection should be; zeros and `None` take defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateCollection {
    /// 1 to 64 of a-z, 0-9, `-` and `_`, starting with a letter or a digit.
    pub name: String,
    /// `None` takes the encoder's; another one makes a collection of supplied vectors only.
    pub dimension: Option<usize>,
    /// Neighbours per node.
    pub m: Option<usize>,
    /// Candidate list size while building.
    pub ef_construction: Option<usize>,
    /// Default candidate list size while searching.
    pub ef_search: Option<usize>,
    /// Whether walks compare smaller copies of the vectors first.
    pub quantization: Quantization,
    /// Rows in the tail that trigger sealing.
    pub seal_rows: Option<usize>,
    /// When segments are merged.
    pub compaction: Option<CompactionConfig>,
    /// What declared payload fields hold.
    pub schema: Schema,
}

/// A collection as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionView {
    /// Its name.
    pub name: String,
    /// What it was created with.
    pub config: CollectionConfig,
    /// What it holds now.
    pub stats: Stats,
}

/// An opened collection and the task that writes to it.
pub(crate) struct Hosted {
    pub(crate) name: String,
    pub(crate) collection: Arc<Collection>,
    pub(crate) writer: Writer,
}

enum Slot {
    Open(Arc<Hosted>),
    /// Could not be opened; the others go on.
    Damaged(String),
}

/// The collections of one server.
pub(crate) struct Collections {
    root: PathBuf,
    trash: PathBuf,
    max_collections: usize,
    max_dimension: usize,
    /// Whoever holds it is the one who restores.
    restoring: Mutex<()>,
    slots: RwLock<BTreeMap<String, Slot>>,
}

impl Collections {
    /// Opens every collection under `data`. One that can't be opened is kept by name
    /// with the reason; it does not stop the others.
    pub(crate) fn open(data: &Path, limits: &Limits) -> std::io::Result<Self> {
        let root = data.join("collections");
        let trash = data.join("trash");
        fs_err::create_dir_all(&root)?;
        fs_err::create_dir_all(&trash)?;
        for leftover in fs_err::read_dir(&trash)? {
            fs_err::remove_dir_all(leftover?.path())?;
        }

        let mut slots = BTreeMap::new();
        for entry in fs_err::read_dir(&root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.strip_suffix(".tmp").is_some_and(|name| check_name(name).is_ok()) {
                // A restore that was never answered.
                fs_err::remove_dir_all(entry.path())?;
                continue;
            }
            if check_name(&name).is_err() || !entry.file_type()?.is_dir() {
                tracing::warn!(path = %entry.path().display(), "not a collection, ignored");
                continue;
            }
            let slot = match Collection::open(&entry.path()) {
                Ok(collection) => Slot::Open(Arc::new(Hosted::new(&name, collection))),
                Err(IndexError::NotFound { path }) => {
                    // A creation that was never answered; its name is free again.
                    tracing::warn!(path = %path.display(), "unfinished collection, ignored");
                    continue;
                }
                Err(error) => {
                    tracing::error!(collection = name, %error, "cannot open collection");
                    Slot::Damaged(error.to_string())
                }
            };
            slots.insert(name, slot);
        }
        let (max_collections, max_dimension) = (limits.max_collections, limits.max_dimension);
        let (restoring, slots) = (Mutex::new(()), RwLock::new(slots));
        Ok(Self { root, trash, max_collections, max_dimension, restoring, slots })
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Hosted>, ServiceError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        match slots.get(name) {
            Some(Slot::Open(hosted)) => Ok(Arc::clone(hosted)),
            Some(Slot::Damaged(problem)) => {
                Err(ServiceError::DataLoss { name: name.into(), problem: problem.clone() })
            }
            None => Err(ServiceError::CollectionNotFound { name: name.into() }),
        }
    }

    /// Names of all collections, in order, that are greater than `after`.
    pub(crate) fn views(&self, after: &str, limit: usize) -> Vec<CollectionView> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let open = slots.range(after.to_owned()..).filter_map(|(name, slot)| match slot {
            Slot::Open(hosted) if name.as_str() > after => Some(hosted.view()),
            _ => None,
        });
        open.take(limit).collect()
    }

    pub(crate) fn create(
        &self,
        request: &CreateCollection,
        encoder: &EncoderInfo,
    ) -> Result<Arc<Hosted>, ServiceError> {
        check_name(&request.name)?;
        let config = self.config(request, encoder)?;
        let name = &request.name;

        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.contains_key(name) {
            return Err(ServiceError::CollectionExists { name: name.clone() });
        }
        if slots.len() >= self.max_collections {
            let problem = format!("server holds {} collections, its limit", slots.len());
            return Err(ServiceError::FailedPrecondition { name: name.clone(), problem });
        }
        let collection = Collection::create(&self.root.join(name), config)
            .map_err(|error| ServiceError::from_index(error, name, "config"))?;
        let hosted = Arc::new(Hosted::new(name, collection));
        slots.insert(name.clone(), Slot::Open(Arc::clone(&hosted)));
        Ok(hosted)
    }

    /// Finds a collection, or creates it with defaults.
    pub(crate) fn get_or_create(
        &self,
        name: &str,
        encoder: &EncoderInfo,
    ) -> Result<Arc<Hosted>, ServiceError> {
        let request = CreateCollection { name: name.into(), ..CreateCollection::default() };
        match self.get(name) {
            Err(ServiceError::CollectionNotFound { .. }) => match self.create(&request, encoder) {
                Err(ServiceError::CollectionExists { .. }) => self.get(name),
                created => created,
            },
            found => found,
        }
    }

    /// Where a collection of this name is, or would be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, ServiceError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Makes the collection `target` of a snapshot of another, one that could not be
    /// opened included.
    pub(crate) fn restore(
        &self,
        name: &str,
        snapshot: &str,
        target: &str,
    ) -> Result<Arc<Hosted>, ServiceError> {
        let _turn = self.restoring.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, folder) = (self.folder(name)?, self.folder(target)?);
        if let Err(error @ ServiceError::CollectionNotFound { .. }) = self.get(name) {
            return Err(error);
        }
        self.check_room(target)?;
        // Long, so without the lock; a creation of that name meanwhile fails one of the two.
        let of_index = |error| ServiceError::from_index(error, target, "name");
        Collection::restore_snapshot(&source, snapshot, &folder).map_err(of_index)?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let hosted = Arc::new(Hosted::new(target, Collection::open(&folder).map_err(of_index)?));
        slots.insert(target.to_owned(), Slot::Open(Arc::clone(&hosted)));
        Ok(hosted)
    }

    fn check_room(&self, name: &str) -> Result<(), ServiceError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.contains_key(name) {
            return Err(ServiceError::CollectionExists { name: name.to_owned() });
        }
        if slots.len() >= self.max_collections {
            let problem = format!("server holds {} collections, its limit", slots.len());
            return Err(ServiceError::FailedPrecondition { name: name.to_owned(), problem });
        }
        Ok(())
    }

    /// Takes the collection out of service and moves its folder to the trash, whose
    /// files go away now or, after a crash, at the next start.
    pub(crate) fn delete(&self, name: &str) -> Result<(), ServiceError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.remove(name) else {
            return Err(ServiceError::CollectionNotFound { name: name.into() });
        };
        if let Slot::Open(hosted) = &slot
            && let Err(error) = hosted.collection.close()
        {
            tracing::warn!(collection = name, %error, "closing a deleted collection");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let grave = self.trash.join(format!("{name}-{now}"));
        let moved = fs_err::rename(self.root.join(name), &grave);
        drop(slots);
        moved.and_then(|()| fs_err::remove_dir_all(&grave)).map_err(|error| {
            ServiceError::Internal { problem: format!("deleting collection `{name}`: {error}") }
        })
    }

    /// Closes every collection: nothing acknowledged is left to write afterwards.
    pub(crate) fn close(&self) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            if let Slot::Open(hosted) = slot
                && let Err(error) = hosted.collection.close()
            {
                tracing::error!(collection = hosted.name, %error, "closing");
            }
        }
    }

    fn config(
        &self,
        request: &CreateCollection,
        encoder: &EncoderInfo,
    ) -> Result<CollectionConfig, ServiceError> {
        let dimension = request.dimension.unwrap_or(encoder.dimension);
        if !(2..=self.max_dimension).contains(&dimension) {
            let problem = format!("{dimension} is outside 2 to {}", self.max_dimension);
            return Err(ServiceError::invalid("config.dimension", problem));
        }
        let defaults = CollectionConfig::new(dimension);
        let own = dimension == encoder.dimension;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(CollectionConfig {
            dimension,
            encoder_fingerprint: if own { encoder.fingerprint.clone() } else { String::new() },
            hnsw: HnswConfig {
                m: request.m.unwrap_or(defaults.hnsw.m),
                ef_construction: request.ef_construction.unwrap_or(defaults.hnsw.ef_construction),
                ef_search: request.ef_search.unwrap_or(defaults.hnsw.ef_search),
            },
            quantization: request.quantization,
            seal_rows: request.seal_rows.unwrap_or(defaults.seal_rows),
            compaction: request.compaction.clone().unwrap_or(defaults.compaction),
            schema: request.schema.clone(),
            created_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Hosted {
    fn new(name: &str, collection: Collection) -> Self {
        let collection = Arc::new(collection);
        let writer = Writer::start(name, Arc::clone(&collection));
        Self { name: name.into(), collection, writer }
    }

    pub(crate) fn view(&self) -> CollectionView {
        CollectionView {
            name: self.name.clone(),
            config: self.collection.config().clone(),
            stats: self.collection.stats(),
        }
    }

    /// Fails unless the collection's vectors come from `encoder`.
    pub(crate) fn check_encoder(&self, encoder: &EncoderInfo) -> Result<(), ServiceError> {
        let config = self.collection.config();
        let problem = if config.encoder_fingerprint.is_empty() {
            format!("takes supplied vectors of {} dimensions only", config.dimension)
        } else if config.encoder_fingerprint != encoder.fingerprint {
            format!(
                "holds vectors of encoder {}, this server runs {}: start it with the same model \
                 and adapters, or ingest again into a new collection",
                config.encoder_fingerprint, encoder.fingerprint
            )
        } else {
            return Ok(());
        };
        Err(ServiceError::FailedPrecondition { name: self.name.clone(), problem })
    }
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if name.len() <= MAX_NAME_BYTES && starts_well && name.bytes().all(allowed) {
        return Ok(());
    }
    let problem = "must be 1 to 64 of a-z, 0-9, `-` and `_`, starting with a letter or a digit";
    Err(ServiceError::invalid("name", problem))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["a", "0", "docs-2026_en", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a/b", "..", "a.b", "ä", "a b", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
