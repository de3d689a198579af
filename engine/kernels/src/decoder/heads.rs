//! What a pass does head by head: rotating, placing keys and values, attending.

use half::f16;

use super::{
    head_norms,
    pass::{Pass, Unit},
};
use crate::{
    Matrix,
    attention::{ATTENTION_ROWS, AttentionTile},
    kv::PAGE,
    team::Member,
};

impl Pass<'_> {
    /// Rotates a row's queries of one key-value head in place and puts the key and value
    /// into their page.
    pub(super) fn place(
        &self,
        layer: usize,
        qkv: &Matrix,
        row: usize,
        kv_head: usize,
        member: &Member<'_>,
    ) {
        let shape = &self.decoder.shape;
        let (sequence, position) = self.places[row];
        let angles = match self.extras.angles_of(row, shape.head_dim / 2) {
            Some(angles) => angles,
            None => self.decoder.rope.at(position),
        };
        let norms = self.decoder.head_norms.get(layer);
        let scale = 1.0 / (shape.head_dim as f32).sqrt();
        let page = self.sequences[sequence].pages[position / PAGE];
        let (kernels, group) = (self.kernels(), shape.heads / shape.kv_heads);
        // SAFETY: the row's heads and its position are this thread's; `extend` has made the
        // page writable; the scratch memory is this thread's and wider than a head.
        unsafe {
            let values = self.qkv.at(row * self.sizes.qkv);
            for head in kv_head * group..(kv_head + 1) * group {
                let at = values.add(head * shape.head_dim);
                if let Some(norms) = norms {
                    head_norms::normalise(kernels, &norms.queries, shape.norm_eps, at);
                }
                (kernels.rotate)(at, angles, scale, at);
            }
            let rotated = self.scratch(member);
            let key = values.add(qkv.part_start(1) + kv_head * shape.head_dim);
            let value = values.add(qkv.part_start(2) + kv_head * shape.head_dim);
            if let Some(norms) = norms {
                head_norms::normalise(kernels, &norms.keys, shape.norm_eps, key);
            }
            (kernels.rotate)(key, angles, 1.0, rotated);
            let key = std::slice::from_raw_parts(rotated, shape.head_dim);
            let start = self.pages.head_start(layer, kv_head);
            let (width, slot) = (self.pages.head_width, position % PAGE);
            if self.decoder.options.half_cache {
                (kernels.place_half)(key, value, page.cast::<f16>().add(start), width, slot);
            } else {
                (kernels.place_single)(key, value, page.cast::<f32>().add(start), width, slot);
            }
        }
    }

    /// Attends for one unit, tile by tile.
    pub(super) fn attend(&self, layer: usize, index: usize, member: &Member<'_>) {
        let unit = &self.units[index];
        let shape = &self.decoder.shape;
        let sequence = &self.sequences[unit.sequence];
        let (group, width) = (shape.heads / shape.kv_heads, self.pages.head_width);
        let kernels = self.kernels();
        // In a step the next unit's keys are others.
        let next = match self.units.get(index + 1) {
            Some(next) if self.is_step => self.first_keys(layer, next),
            _ => std::ptr::null(),
        };
        let end = unit.first + unit.count;
        for first in (unit.first..end).step_by(ATTENTION_ROWS) {
            let rows = (end - first).min(ATTENTION_ROWS);
            let queries = self.scratch(member);
            // SAFETY: the scratch memory is this thread's and holds two such tiles.
            let out = unsafe { queries.add(ATTENTION_ROWS * width) };
            let mut visible = [0; ATTENTION_ROWS];
            // Where a counted row lies: its row of the pass and its head.
            let locate = |row: usize| {
                let (token, head) = ((first + row) / group, (first + row) % group);
                (token, unit.kv_head * group + head)
            };
            for (row, visible) in visible.iter_mut().take(rows).enumerate() {
                let (token, head) = locate(row);
                *visible = sequence.past + token + 1;
                // SAFETY: the row's queries were written in an earlier phase.
                unsafe {
                    let from = (sequence.first_row + token) * self.sizes.qkv;
                    let from = self.qkv.at(from + head * shape.head_dim);
                    let to = queries.add(row * width);
                    std::ptr::copy_nonoverlapping(from, to, shape.head_dim);
                    std::slice::from_raw_parts_mut(to, width)[shape.head_dim..].fill(0.0);
                }
            }
            let tile = AttentionTile {
                queries,
                rows,
                visible,
                pages: &sequence.pages,
                head_start: self.pages.head_start(layer, unit.kv_head),
                head_width: width,
                out,
                next,
            };
            // SAFETY: keys and values of all visible positions were written in an earlier
            // phase or pass; `Kernels::of` has checked the instructions.
            unsafe {
                if self.decoder.options.half_cache {
                    (kernels.attend_half)(&tile);
                } else {
                    (kernels.attend_single)(&tile);
                }
            }
            for row in 0..rows {
                let (token, head) = locate(row);
                // SAFETY: the outputs of a row's head belong to one unit.
                unsafe {
                    let to = (sequence.first_row + token) * self.sizes.queries;
                    let to = self.mixed.at(to + head * shape.head_dim);
                    std::ptr::copy_nonoverlapping(out.add(row * width), to, shape.head_dim);
                }
            }
        }
    }

    /// Where the keys of a unit begin.
    fn first_keys(&self, layer: usize, unit: &Unit) -> *const u8 {
        let start = self.pages.head_start(layer, unit.kv_head) * self.pages.element;
        match self.sequences[unit.sequence].pages.first() {
            Some(page) => page.wrapping_add(start),
            None => std::ptr::null(),
        }
    }
}
