//! Kernels that keep one unit of the processor as busy as it can be.
//!
//! Each keeps twelve or more independent sums in registers, enough to hide the latency of
//! the instruction, and returns how many operations it did.

use twn_encoder::Isa;

/// The widest instructions that the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of plain loops.
    Portable,
}

impl Kernels {
    /// The fastest that runs here.
    pub(crate) fn detect() -> Self {
        Self::all_supported()[0]
    }

    /// Those of the same instructions as ours.
    ///
    /// # Panics
    /// Panics when the processor does not have them.
    pub(crate) fn of(isa: Isa) -> Self {
        let kernels = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self::Avx2,
            Isa::Portable => Self::Portable,
        };
        assert!(Self::all_supported().contains(&kernels), "an instruction set of this machine");
        kernels
    }

    /// All that run here, the fastest first.
    pub(crate) fn all_supported() -> Vec<Self> {
        let mut supported = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                supported.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                supported.push(Self::Avx2);
            }
        }
        supported.push(Self::Portable);
        supported
    }

    /// For reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2 FMA",
            Self::Portable => "portable",
        }
    }

    /// Multiplies and adds f32 for `rounds` rounds; returns the number of operations.
    pub(crate) fn multiply_f32(self, rounds: u64) -> u64 {
        match self {
            // SAFETY: `all_supported` names these kernels only where their features are.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::multiply_f32_avx512(rounds) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::multiply_f32_avx2(rounds) },
            Self::Portable => portable::multiply_f32(rounds),
        }
    }

    /// Multiplies and adds 16-bit integers for `rounds` rounds; returns the number of
    /// operations.
    pub(crate) fn multiply_int16(self, rounds: u64) -> u64 {
        match self {
            // SAFETY: `all_supported` names these kernels only where their features are.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::multiply_int16_avx512(rounds) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::multiply_int16_avx2(rounds) },
            Self::Portable => portable::multiply_int16(rounds),
        }
    }

    /// Multiplies and adds 8-bit integers for `rounds` rounds; returns the number of
    /// operations.
    pub(crate) fn multiply_int8(self, rounds: u64) -> u64 {
        match self {
            // SAFETY: `all_supported` names these kernels only where their features are.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::multiply_int8_avx512(rounds) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::multiply_int8_avx2(rounds) },
            Self::Portable => portable::multiply_int8(rounds),
        }
    }

    /// The sum of `numbers`, wrapping.
    pub(crate) fn sum(self, numbers: &[u64]) -> u64 {
        match self {
            // SAFETY: `all_supported` names these kernels only where their features are.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::sum_avx512(numbers) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::sum_avx2(numbers) },
            Self::Portable => portable::sum(numbers),
        }
    }
}

mod portable {
    use std::hint::black_box;

    const LANES: usize = 64;

    pub(super) fn multiply_f32(rounds: u64) -> u64 {
        let (factor, mut sums) = (black_box([0.5f32; LANES]), [1.0f32; LANES]);
        for _ in 0..rounds {
            for (sum, factor) in sums.iter_mut().zip(&factor) {
                *sum = *sum * *factor + *factor;
            }
        }
        black_box(sums);
        rounds * 2 * LANES as u64
    }

    pub(super) fn multiply_int16(rounds: u64) -> u64 {
        multiply::<i16>(rounds, 3, 5)
    }

    pub(super) fn multiply_int8(rounds: u64) -> u64 {
        multiply::<i8>(rounds, 3, 5)
    }

    fn multiply<T: Copy + Into<i32>>(rounds: u64, left: T, right: T) -> u64 {
        let (left, right) = (black_box([left; LANES]), black_box([right; LANES]));
        let mut sums = [0i32; LANES];
        for _ in 0..rounds {
            // Read anew in every round, or the loop becomes one product.
            let left = black_box(&left);
            for ((sum, left), right) in sums.iter_mut().zip(left).zip(&right) {
                let (left, right): (i32, i32) = ((*left).into(), (*right).into());
                *sum = sum.wrapping_add(left * right);
            }
        }
        black_box(sums);
        rounds * 2 * LANES as u64
    }

    pub(super) fn sum(numbers: &[u64]) -> u64 {
        numbers.iter().fold(0, |sum, number| sum.wrapping_add(*number))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, hint::black_box};

    /// Independent sums of the AVX-512 kernels, of 32 registers.
    const WIDE: usize = 24;
    /// Independent sums of the AVX2 kernels, of 16 registers.
    const NARROW: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_f32_avx512(rounds: u64) -> u64 {
        let factor = _mm512_set1_ps(black_box(0.5));
        let mut sums = [_mm512_set1_ps(1.0); WIDE];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        rounds * (2 * 16 * WIDE) as u64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn multiply_f32_avx2(rounds: u64) -> u64 {
        let factor = _mm256_set1_ps(black_box(0.5));
        let mut sums = [_mm256_set1_ps(1.0); NARROW];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
        rounds * (2 * 8 * NARROW) as u64
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn multiply_int16_avx512(rounds: u64) -> u64 {
        let (left, right) = (_mm512_set1_epi16(black_box(3)), _mm512_set1_epi16(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); WIDE];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpwssd_epi32(*sum, left, right);
            }
        }
        black_box(sums);
        rounds * (2 * 32 * WIDE) as u64
    }

    /// One instruction to multiply and add pairs, and one to add.
    #[target_feature(enable = "avx2")]
    pub(super) fn multiply_int16_avx2(rounds: u64) -> u64 {
        let right = _mm256_set1_epi16(black_box(5));
        let mut sums = [_mm256_setzero_si256(); NARROW];
        for _ in 0..rounds {
            for sum in &mut sums {
                // The sum is the left factor too, or the product would leave the loop.
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, right));
            }
        }
        black_box(sums);
        rounds * (2 * 16 * NARROW) as u64
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn multiply_int8_avx512(rounds: u64) -> u64 {
        let (left, right) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(5)));
        let mut sums = [_mm512_setzero_si512(); WIDE];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, left, right);
            }
        }
        black_box(sums);
        rounds * (2 * 64 * WIDE) as u64
    }

    /// What AVX2 has instead of VNNI: two instructions to multiply and add up to 32 bits, and
    /// one to add.
    #[target_feature(enable = "avx2")]
    pub(super) fn multiply_int8_avx2(rounds: u64) -> u64 {
        let ones = _mm256_set1_epi16(1);
        let right = _mm256_set1_epi8(black_box(5));
        let mut sums = [_mm256_setzero_si256(); NARROW];
        for _ in 0..rounds {
            for sum in &mut sums {
                // The sum is the left factor too, or the product would leave the loop.
                let pairs = _mm256_maddubs_epi16(*sum, right);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums);
        rounds * (2 * 32 * NARROW) as u64
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn sum_avx512(numbers: &[u64]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut blocks = numbers.chunks_exact(32);
        for block in &mut blocks {
            for (index, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `index` is below 4 and the block has 4 times 8 numbers.
                let part = unsafe { _mm512_loadu_si512(block.as_ptr().add(8 * index).cast()) };
                *sum = _mm512_add_epi64(*sum, part);
            }
        }
        let total = _mm512_add_epi64(
            _mm512_add_epi64(sums[0], sums[1]),
            _mm512_add_epi64(sums[2], sums[3]),
        );
        let rest = super::portable::sum(blocks.remainder());
        rest.wrapping_add(_mm512_reduce_add_epi64(total) as u64)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn sum_avx2(numbers: &[u64]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); 4];
        let mut blocks = numbers.chunks_exact(16);
        for block in &mut blocks {
            for (index, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `index` is below 4 and the block has 4 times 4 numbers.
                let part = unsafe { _mm256_loadu_si256(block.as_ptr().add(4 * index).cast()) };
                *sum = _mm256_add_epi64(*sum, part);
            }
        }
        let total = _mm256_add_epi64(
            _mm256_add_epi64(sums[0], sums[1]),
            _mm256_add_epi64(sums[2], sums[3]),
        );
        let mut lanes = [0u64; 4];
        // SAFETY: the four lanes are 32 bytes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), total) };
        lanes
            .iter()
            .fold(super::portable::sum(blocks.remainder()), |sum, lane| sum.wrapping_add(*lane))
    }
}
