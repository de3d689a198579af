//! Rotary position embedding in the rotate-half layout of Hugging Face's models, and the
//! way of keys and values into their page.

use crate::{
    kv::PAGE,
    lanes::{Element, Lanes},
};

/// Cosines and sines for every position, `[positions, head_dim / 2]`.
#[derive(Debug)]
pub(crate) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    /// Makes the tables; angles are computed in f64.
    pub(crate) fn new(head_dim: usize, theta: f32, positions: usize) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| f64::from(theta).powf(-(2.0 * i as f64) / head_dim as f64)).collect();
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f));
        let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// Positions there are.
    pub(crate) fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Finds a position's factors.
    pub(crate) fn at(&self, position: usize) -> Angles<'_> {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Cosines and sines of one position, half as many each as a head is wide.
pub(crate) type Angles<'a> = (&'a [f32], &'a [f32]);

/// Turns one head: element `i` with element `i + half` by the angle `i`; then scales.
///
/// # Safety
/// `head` and `out` hold `2 * cos.len()` values and may be the same; the instruction set is
/// there.
#[inline(always)]
pub(crate) unsafe fn rotate<V: Lanes>(
    head: *const f32,
    (cos, sin): Angles<'_>,
    scale: f32,
    out: *mut f32,
) {
    let half = cos.len();
    let whole = half - half % V::WIDTH;
    // SAFETY: the caller's promise. By vectors, since the compiler makes none where head and
    // outputs may be the same.
    unsafe {
        for i in (0..whole).step_by(V::WIDTH) {
            let (first, second) = (V::load(head.add(i)), V::load(head.add(i + half)));
            let (cos, sin) = (V::load(cos.as_ptr().add(i)), V::load(sin.as_ptr().add(i)));
            let scale = V::splat(scale);
            first.mul(cos).sub(second.mul(sin)).mul(scale).store(out.add(i));
            second.mul(cos).add(first.mul(sin)).mul(scale).store(out.add(i + half));
        }
        for i in whole..half {
            let (first, second) = (head.add(i).read(), head.add(i + half).read());
            *out.add(i) = (first * cos[i] - second * sin[i]) * scale;
            *out.add(i + half) = (second * cos[i] + first * sin[i]) * scale;
        }
    }
}

/// Writes a head's key (rotated) and value, `head_dim` each, at position `slot` of a page
/// whose keys for this head start at `keys`.
///
/// # Safety
/// The page has room for the head, `head_width` wide, and `slot` is below [`PAGE`]; the
/// instruction set is there.
#[inline(always)]
pub(crate) unsafe fn place<V: Lanes, E: Element>(
    key: &[f32],
    value: *const f32,
    keys: *mut E,
    head_width: usize,
    slot: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rounded = [E::from_f32(0.0); 16];
        for start in (0..head_width).step_by(16) {
            let len = key.len().saturating_sub(start).min(16);
            let mut part = [0.0; 16];
            part[..len].copy_from_slice(&key[start..start + len]);
            for i in (0..16).step_by(V::WIDTH) {
                E::store(V::load(part.as_ptr().add(i)), rounded.as_mut_ptr().add(i));
            }
            for (i, element) in rounded.iter().enumerate() {
                *keys.add((start + i) * PAGE + slot) = *element;
            }
            let mut part = [0.0; 16];
            std::ptr::copy_nonoverlapping(value.add(start), part.as_mut_ptr(), len);
            let to = keys.add(PAGE * head_width + slot * head_width + start);
            for i in (0..16).step_by(V::WIDTH) {
                E::store(V::load(part.as_ptr().add(i)), to.add(i));
            }
        }
    }
}
