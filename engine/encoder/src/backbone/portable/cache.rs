//! Keys and values of one sequence.

use burn::tensor::Tensor;

/// Keys and values of one sequence, layer by layer.
///
/// Cloning is cheap: the buffers are shared until one side writes, which then copies its
/// own. That is how many prompts continue from one prefix.
#[derive(Debug, Clone)]
pub(in crate::backbone) struct KvCache {
    layers: Vec<Option<LayerCache>>,
    len: usize,
    capacity: usize,
}

/// Keys and values of one layer, `[capacity, kv_heads, head_dim]` each.
#[derive(Debug, Clone)]
struct LayerCache {
    keys: Tensor<3>,
    values: Tensor<3>,
}

impl KvCache {
    /// Makes an empty cache that allocates for `capacity` positions at first use.
    pub(in crate::backbone) fn new(layers: usize, capacity: usize) -> Self {
        Self { layers: vec![None; layers], len: 0, capacity }
    }

    /// Positions that are filled.
    pub(in crate::backbone) fn len(&self) -> usize {
        self.len
    }

    /// Asks for room for `capacity` positions in all, to spare growing step by step.
    pub(in crate::backbone) fn reserve(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// Forgets all positions from `len` on.
    pub(in crate::backbone) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes the buffers hold, shared ones included.
    pub(in crate::backbone) fn bytes(&self) -> usize {
        let size =
            |layer: &LayerCache| 2 * layer.keys.dims().iter().product::<usize>() * size_of::<f32>();
        self.layers.iter().flatten().map(size).sum()
    }

    /// Counts `added` positions as filled, once every layer has appended them.
    pub(super) fn advance(&mut self, added: usize) {
        self.len += added;
    }

    /// Writes `keys` and `values` (`[n, kv_heads, head_dim]`) after the filled positions
    /// of `layer` and returns all keys and all values, `[len + n, kv_heads, head_dim]`.
    pub(super) fn append(
        &mut self,
        layer: usize,
        keys: Tensor<3>,
        values: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let [added, ..] = keys.dims();
        let end = self.len + added;
        if end > self.capacity {
            // Doubling makes the copies of a long decode linear in its length.
            self.capacity = end.max(2 * self.capacity);
        }
        let old = self.layers[layer].take();
        let (old_keys, old_values) = old.map(|old| (old.keys, old.values)).unzip();
        let keys = write(old_keys, keys, self.len, self.capacity);
        let values = write(old_values, values, self.len, self.capacity);
        let all = (keys.clone().slice(0..end), values.clone().slice(0..end));
        self.layers[layer] = Some(LayerCache { keys, values });
        all
    }
}

/// Writes `rows` at `start` of `buffer`, in place when the buffer is large enough and
/// nobody shares it.
fn write(buffer: Option<Tensor<3>>, rows: Tensor<3>, start: usize, capacity: usize) -> Tensor<3> {
    let [added, heads, width] = rows.dims();
    let buffer = match buffer {
        Some(buffer) if buffer.dims()[0] >= start + added => buffer,
        old => {
            let grown = Tensor::zeros([capacity, heads, width], &rows.device());
            match old {
                Some(old) if start > 0 => grown.slice_assign(0..start, old.slice(0..start)),
                _ => grown,
            }
        }
    };
    buffer.slice_assign(start..start + added, rows)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn rows(from: usize, count: usize) -> Tensor<3> {
        let values: Vec<f32> = (from..from + count).flat_map(|i| [i as f32, -(i as f32)]).collect();
        Tensor::from_data(TensorData::new(values, [count, 1, 2]), &Device::flex())
    }

    fn first_column(tensor: Tensor<3>) -> Vec<f32> {
        let values = tensor.into_data().try_to_vec::<f32>().expect("f32");
        values.chunks(2).map(|row| row[0]).collect()
    }

    fn extend(cache: &mut KvCache, from: usize, count: usize) -> Vec<f32> {
        let (keys, values) = cache.append(0, rows(from, count), rows(from, count));
        assert_eq!(values.dims()[0], keys.dims()[0]);
        cache.advance(count);
        first_column(keys)
    }

    #[test]
    fn append_keeps_what_was_there_while_growing() {
        let mut cache = KvCache::new(1, 2);
        assert_eq!(extend(&mut cache, 0, 2), [0.0, 1.0]);
        assert_eq!(extend(&mut cache, 2, 1), [0.0, 1.0, 2.0]);
        assert_eq!(extend(&mut cache, 3, 4), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(cache.len(), 7);
    }

    #[test]
    fn truncate_lets_later_rows_overwrite() {
        let mut cache = KvCache::new(1, 8);
        extend(&mut cache, 0, 4);
        cache.truncate(2);
        assert_eq!(extend(&mut cache, 9, 1), [0.0, 1.0, 9.0]);
    }

    #[test]
    fn clones_do_not_see_each_other() {
        let mut prefix = KvCache::new(1, 4);
        extend(&mut prefix, 0, 2);
        let (mut left, mut right) = (prefix.clone(), prefix.clone());
        assert_eq!(extend(&mut left, 5, 1), [0.0, 1.0, 5.0]);
        assert_eq!(extend(&mut right, 6, 2), [0.0, 1.0, 6.0, 7.0]);
        assert_eq!(extend(&mut prefix, 8, 1), [0.0, 1.0, 8.0]);
        assert_eq!(extend(&mut left, 1, 1), [0.0, 1.0, 5.0, 1.0]);
    }
}
