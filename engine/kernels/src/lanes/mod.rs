//! Vectors of f32 for one instruction set each, so that a kernel is written once.
//!
//! Kernels are generic functions over [`Lanes`], always inlined into an entry point that
//! enables the instruction set; there the intrinsics inline as well.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use half::f16;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// A vector of f32.
///
/// # Safety
/// All methods need the instruction set of the implementing type; those that take a
/// pointer read or write `WIDTH` values there, without alignment.
#[allow(clippy::missing_safety_doc, reason = "the trait's own section says it for all")]
pub(crate) trait Lanes: Copy {
    /// Values in a vector; divides 16.
    const WIDTH: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_half(from: *const f16) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Stores rounded to half precision; values beyond its range become its limits.
    unsafe fn store_half(self, to: *mut f16);
    /// Stores values that are integers from -127 to 127.
    unsafe fn store_bytes(self, to: *mut i8);
    /// Stores values that are integers from -32767 to 32767.
    unsafe fn store_words(self, to: *mut i16);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// `self * factor + addend`; rounded once where the machine can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `2^self` for integers from -126 to 127.
    unsafe fn power_of_two(self) -> Self;
    /// Has `bytes` from an address on, which may be any, fetched into the second-level cache,
    /// where the machine can.
    unsafe fn prefetch(from: *const u8, bytes: usize);
    /// Has `count` vectors from an address on, which may be any, fetched into the first-level
    /// cache, where the machine can.
    unsafe fn prefetch_near(from: *const f32, count: usize);
    unsafe fn sum(self) -> f32;
    unsafe fn largest(self) -> f32;
}

/// Elements of keys and values.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Loads `V::WIDTH` elements.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn load<V: Lanes>(from: *const Self) -> V;
    /// Stores `V::WIDTH` elements.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn store<V: Lanes>(values: V, to: *mut Self);
    /// Rounds one value.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes>(values: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { values.store(to) }
    }

    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_half(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes>(values: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { values.store_half(to) }
    }

    fn from_f32(value: f32) -> Self {
        f16::from_f32(value.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32()))
    }
}

/// `e^x`, to about 2e-7 of its value; 0 far below and large but finite far above.
///
/// Splits off a power of two and evaluates the Taylor polynomial of degree 6 on the rest,
/// which lies within ±ln(2)/2.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let x = x.max(V::splat(-87.0)).min(V::splat(88.0));
        let power = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts, of which the first times an integer is exact.
        let rest = power.mul_add(V::splat(-0.693_145_75), x);
        let rest = power.mul_add(V::splat(-1.428_606_8e-6), rest);
        let mut sum = V::splat(1.0 / 720.0);
        for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            sum = sum.mul_add(rest, V::splat(factor));
        }
        sum.mul(power.power_of_two())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks one vector type against f64, value by value.
    unsafe fn check<V: Lanes>() {
        let values: Vec<f32> = (0..V::WIDTH).map(|i| i as f32 * 9.3 - 60.0).collect();
        let mut out = vec![0.0; V::WIDTH];
        // SAFETY: callers have checked the instruction set; the slices are WIDTH long.
        unsafe {
            exp(V::load(values.as_ptr())).store(out.as_mut_ptr());
            for (x, y) in values.iter().zip(&out) {
                let want = f64::from(*x).exp();
                assert!((f64::from(*y) / want - 1.0).abs() < 5e-7, "exp {x} = {y}, {want}");
            }
            assert!(exp(V::splat(-1e30)).largest() < 1e-37);
            assert!(exp(V::splat(1e30)).largest().is_finite());
            let vector = V::load(values.as_ptr());
            let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
            assert!((f64::from(vector.sum()) - sum).abs() < 1e-3);
            assert_eq!(vector.largest(), values[V::WIDTH - 1]);
            let mut halves = vec![f16::ZERO; V::WIDTH];
            vector.store_half(halves.as_mut_ptr());
            V::load_half(halves.as_ptr()).store(out.as_mut_ptr());
            for (x, y) in values.iter().zip(&out) {
                assert_eq!(f16::from_f32(*x).to_f32(), *y);
            }
            V::splat(1e9).store_half(halves.as_mut_ptr());
            assert_eq!(halves[0], f16::MAX);
            let mut bytes = vec![0_i8; V::WIDTH];
            vector.round().store_bytes(bytes.as_mut_ptr());
            for (x, y) in values.iter().zip(&bytes) {
                assert_eq!(x.round_ties_even() as i8, *y);
            }
            let mut words = vec![0_i16; V::WIDTH];
            vector.mul(V::splat(300.0)).round().store_words(words.as_mut_ptr());
            for (x, y) in values.iter().zip(&words) {
                assert_eq!((x * 300.0).round_ties_even() as i16, *y);
            }
            vector.abs().max(V::splat(50.0)).min(V::splat(55.0)).store(out.as_mut_ptr());
            assert!(values.iter().zip(&out).all(|(x, y)| x.abs().clamp(50.0, 55.0) == *y));
        }
    }

    #[test]
    fn every_vector_agrees_with_scalar_arithmetic() {
        for isa in crate::Isa::available() {
            // SAFETY: the instruction set is there.
            unsafe {
                match isa {
                    crate::Isa::Portable => check::<Portable>(),
                    #[cfg(target_arch = "x86_64")]
                    crate::Isa::Avx2 => check::<Avx2>(),
                    #[cfg(target_arch = "x86_64")]
                    crate::Isa::Avx512 => check::<Avx512>(),
                }
            }
        }
    }
}
