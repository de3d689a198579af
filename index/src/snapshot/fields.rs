//! What the fields of a collection's payloads hold.

use super::Snapshot;
use crate::schema::{Column, ColumnScan, FieldInfo, FieldKind, merge};
use std::collections::BTreeMap;

impl Snapshot {
    /// Returns the declared fields and those met in documents, by path.
    ///
    /// Of each segment, and of what is in none yet, the first 256
    /// fields by path are considered. A field that only deleted documents had may
    /// still be among them.
    pub fn fields(&self) -> Vec<FieldInfo> {
        let declared = &self.config.schema.fields;
        let mut kinds: BTreeMap<String, Option<FieldKind>> =
            declared.iter().map(|(path, &kind)| (path.clone(), Some(kind))).collect();
        let mut fresh = ColumnScan::default();
        for (_, row) in self.tails().flat_map(|tail| tail.iter()) {
            fresh.add(&row.document.payload);
        }
        let fresh = fresh.finish(&self.config.schema);
        let sealed = self.segments.iter().flat_map(|view| &view.segment.columns);
        for Column { path, kind, .. } in sealed.chain(&fresh) {
            match kinds.get_mut(path) {
                Some(earlier) => *earlier = merge(*earlier, *kind),
                None => {
                    kinds.insert(path.clone(), *kind);
                }
            }
        }
        let info = |(path, kind): (String, Option<FieldKind>)| {
            let is_declared = declared.contains_key(&path);
            FieldInfo { path, kind, is_declared }
        };
        kinds.into_iter().map(info).collect()
    }
}
