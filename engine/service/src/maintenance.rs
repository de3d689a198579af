//! Looking after collections: compaction, verification, snapshots, fields.

use std::{path::Path, sync::Arc};

use twn_index::{Collection, Compacted, Damage, FieldInfo, IndexError, SavedSnapshot, Verified};

use crate::{collections::CollectionView, engine::Engine, error::ServiceError};

impl Engine {
    /// Merges a collection's segments into one without dead rows, and waits for it.
    ///
    /// # Errors
    /// `CollectionNotFound`, or the index's failure.
    pub async fn compact_collection(
        self: &Arc<Self>,
        name: String,
    ) -> Result<(CollectionView, Compacted), ServiceError> {
        self.on_disk(move |engine| {
            let hosted = engine.collections.get(&name)?;
            let compacted = hosted.collection.compact();
            let compacted = compacted.map_err(|error| of_index(error, &name))?;
            Ok((hosted.view(), compacted.unwrap_or_default()))
        })
        .await
    }

    /// Reads every byte of a collection, one that could not be opened included. Paths
    /// in the answer are within the collection's folder.
    ///
    /// # Errors
    /// `CollectionNotFound`, or the index's failure.
    pub async fn verify_collection(
        self: &Arc<Self>,
        name: String,
    ) -> Result<Verified, ServiceError> {
        self.on_disk(move |engine| {
            let folder = engine.collections.folder(&name)?;
            let verified = match engine.collections.get(&name) {
                Ok(hosted) => hosted.collection.verify(),
                Err(ServiceError::DataLoss { .. }) => Collection::verify_folder(&folder),
                Err(error) => return Err(error),
            };
            let mut verified = verified.map_err(|error| of_index(error, &name))?;
            verified.damage.iter_mut().for_each(|damage| shorten(damage, &folder));
            Ok(verified)
        })
        .await
    }

    /// Tells what the fields of a collection's payloads hold.
    ///
    /// # Errors
    /// `CollectionNotFound`.
    pub async fn fields(self: &Arc<Self>, name: String) -> Result<Vec<FieldInfo>, ServiceError> {
        self.on_disk(move |engine| {
            Ok(engine.collections.get(&name)?.collection.snapshot().fields())
        })
        .await
    }

    /// Saves a collection as it is now.
    ///
    /// # Errors
    /// `CollectionNotFound`, a bad or taken name, or the index's failure.
    pub async fn save_snapshot(
        self: &Arc<Self>,
        collection: String,
        name: String,
    ) -> Result<SavedSnapshot, ServiceError> {
        self.on_disk(move |engine| {
            let hosted = engine.collections.get(&collection)?;
            hosted.collection.save_snapshot(&name).map_err(|error| of_index(error, &collection))
        })
        .await
    }

    /// Lists a collection's snapshots by name.
    ///
    /// # Errors
    /// `CollectionNotFound`, or the index's failure.
    pub async fn saved_snapshots(
        self: &Arc<Self>,
        collection: String,
    ) -> Result<Vec<SavedSnapshot>, ServiceError> {
        self.on_disk(move |engine| {
            let hosted = engine.collections.get(&collection)?;
            hosted.collection.saved_snapshots().map_err(|error| of_index(error, &collection))
        })
        .await
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// `CollectionNotFound`, an unknown snapshot, or the index's failure.
    pub async fn delete_snapshot(
        self: &Arc<Self>,
        collection: String,
        name: String,
    ) -> Result<(), ServiceError> {
        self.on_disk(move |engine| {
            let hosted = engine.collections.get(&collection)?;
            hosted.collection.delete_snapshot(&name).map_err(|error| of_index(error, &collection))
        })
        .await
    }

    /// Makes the collection `target` of a snapshot of another, open or damaged.
    ///
    /// # Errors
    /// `CollectionNotFound`, `CollectionExists`, an unknown snapshot, or the index's failure.
    pub async fn restore_snapshot(
        self: &Arc<Self>,
        collection: String,
        name: String,
        target: String,
    ) -> Result<CollectionView, ServiceError> {
        self.on_disk(move |engine| {
            Ok(engine.collections.restore(&collection, &name, &target)?.view())
        })
        .await
    }
}

fn of_index(error: IndexError, collection: &str) -> ServiceError {
    ServiceError::from_index(error, collection, "name")
}

fn shorten(damage: &mut Damage, folder: &Path) {
    if let Ok(within) = damage.path.strip_prefix(folder) {
        damage.path = within.to_path_buf();
    }
}
