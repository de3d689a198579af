//! The machine's own limits: what no implementation here can beat.
//!
//! Small kernels that do nothing but multiply and add in registers give the arithmetic
//! peaks; summing a buffer much larger than the caches gives the reading bandwidth. The
//! best of several runs counts, since disturbance only ever slows them.

#[allow(unsafe_code)]
mod simd;

use std::time::Instant;

use serde::Serialize;
use twn_encoder::Isa;

use self::simd::Kernels;

/// Several times the last-level cache of common servers, for each thread.
const BUFFER_BYTES: usize = 256 << 20;
/// Rounds of an arithmetic kernel in one run; some ten milliseconds.
const ARITHMETIC_ROUNDS: u64 = 4_000_000;
const RUNS: usize = 7;

/// Measured limits of some threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Limits {
    pub(crate) threads: usize,
    /// The instructions that the kernels used.
    pub(crate) instructions: &'static str,
    /// Additions and multiplications of f32, counted apart.
    pub(crate) f32_operations_per_s: f64,
    /// Additions and multiplications of 16-bit integers into 32-bit sums, counted apart.
    pub(crate) int16_operations_per_s: f64,
    /// Additions and multiplications of 8-bit integers into 32-bit sums, counted apart.
    pub(crate) int8_operations_per_s: f64,
    /// From main memory.
    pub(crate) read_bytes_per_s: f64,
}

impl Limits {
    /// Measures the limits of `threads` threads in a second or two, with all instructions that
    /// the processor has or those given.
    pub(crate) fn measure(threads: usize, isa: Option<Isa>) -> Self {
        let kernels = isa.map_or(Kernels::detect(), Kernels::of);
        let arithmetic = |run: &(dyn Fn(u64) -> u64 + Sync)| {
            best_rate(threads, |_| run(ARITHMETIC_ROUNDS) as f64, &vec![(); threads])
        };
        let f32_operations_per_s = arithmetic(&|rounds| kernels.multiply_f32(rounds));
        let int16_operations_per_s = arithmetic(&|rounds| kernels.multiply_int16(rounds));
        let int8_operations_per_s = arithmetic(&|rounds| kernels.multiply_int8(rounds));
        // Written before it is read, so that every page is there.
        let buffers = vec![vec![1u64; BUFFER_BYTES / size_of::<u64>()]; threads];
        let read = |buffer: &Vec<u64>| {
            std::hint::black_box(kernels.sum(buffer));
            size_of_val(buffer.as_slice()) as f64
        };
        let read_bytes_per_s = best_rate(threads, read, &buffers);
        Self {
            threads,
            instructions: kernels.name(),
            f32_operations_per_s,
            int16_operations_per_s,
            int8_operations_per_s,
            read_bytes_per_s,
        }
    }

    /// The higher of each limit, of two measurements of the same threads.
    pub(crate) fn or_higher(self, other: Self) -> Self {
        Self {
            threads: self.threads,
            instructions: self.instructions,
            f32_operations_per_s: self.f32_operations_per_s.max(other.f32_operations_per_s),
            int16_operations_per_s: self.int16_operations_per_s.max(other.int16_operations_per_s),
            int8_operations_per_s: self.int8_operations_per_s.max(other.int8_operations_per_s),
            read_bytes_per_s: self.read_bytes_per_s.max(other.read_bytes_per_s),
        }
    }
}

/// Limits that tests count with.
#[cfg(test)]
pub(crate) const EXAMPLE: Limits = Limits {
    threads: 2,
    instructions: "none",
    f32_operations_per_s: 200e9,
    int16_operations_per_s: 400e9,
    int8_operations_per_s: 800e9,
    read_bytes_per_s: 20e9,
};

/// Additions and multiplications of f32 a second of some threads together, in a tenth of a second
/// or two.
pub(crate) fn f32_operations_per_s(threads: usize) -> f64 {
    let kernels = Kernels::detect();
    let run = |_: &()| kernels.multiply_f32(ARITHMETIC_ROUNDS) as f64;
    best_rate(threads, run, &vec![(); threads])
}

/// Work a second of all threads together, in the best of several runs. `work` is called
/// with each thread's own input and says how much it did.
fn best_rate<T: Sync>(threads: usize, work: impl Fn(&T) -> f64 + Sync, inputs: &[T]) -> f64 {
    let run = || {
        let started = Instant::now();
        let done: f64 = std::thread::scope(|scope| {
            let work = &work;
            let others: Vec<_> =
                inputs[1..threads].iter().map(|input| scope.spawn(move || work(input))).collect();
            let own = work(&inputs[0]);
            own + others.into_iter().map(|other| other.join().unwrap_or(0.0)).sum::<f64>()
        });
        done / started.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_do_their_share() {
        let rate = best_rate(
            2,
            |amount: &f64| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                *amount
            },
            &[1.0, 3.0],
        );
        // Four units in 20 ms or more.
        assert!(rate > 0.0 && rate <= 200.0, "{rate}");
    }

    #[test]
    fn the_higher_of_each_limit_is_kept() {
        let limits = |f32_operations_per_s, read_bytes_per_s| Limits {
            threads: 2,
            instructions: "none",
            f32_operations_per_s,
            int16_operations_per_s: 6.0,
            int8_operations_per_s: 7.0,
            read_bytes_per_s,
        };
        assert_eq!(limits(1.0, 5.0).or_higher(limits(2.0, 4.0)), limits(2.0, 5.0));
    }

    #[test]
    fn kernels_count_what_they_do_and_sum_right() {
        for kernels in Kernels::all_supported() {
            let numbers: Vec<u64> = (0..10_007).map(|number| number * number).collect();
            let want: u64 = numbers.iter().sum();
            assert_eq!(kernels.sum(&numbers), want, "{}", kernels.name());
            let products = [Kernels::multiply_f32, Kernels::multiply_int16, Kernels::multiply_int8];
            for run in products {
                let (one, two) = (run(kernels, 1_000), run(kernels, 2_000));
                assert!(one > 0 && two == 2 * one, "{}", kernels.name());
            }
        }
    }
}
