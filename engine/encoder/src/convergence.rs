//! Tells when thinking on would not change the embedding any more.
//!
//! Every `every` thought tokens the encoder runs the embedding queries on the side, over
//! prompt and thought as they stand: a probe. A thought ends as converged when two cosines
//! in a row, each between a probe and the one before it, reach `similarity`. So it takes
//! three probes at least; the direct embedding is not one of them, since the step from no
//! thought to some is not the movement in question. A thought that has ended for another
//! reason is not probed. One agreement can be chance (the model repeats itself for a few
//! tokens), which is why it takes two.

use crate::policy::Convergence;

/// Agreements in a row that end a thought.
const AGREEMENTS: u32 = 2;

/// Watches the probes of one thought.
#[derive(Debug, Clone)]
pub struct ConvergenceWatch {
    rule: Convergence,
    last: Option<Vec<f32>>,
    agreements: u32,
}

impl ConvergenceWatch {
    /// Begins to watch a thought.
    pub fn new(rule: Convergence) -> Self {
        Self { rule, last: None, agreements: 0 }
    }

    /// Tells whether a thought that goes on is to be probed after its `tokens`-th token.
    pub fn is_due(&self, tokens: u32) -> bool {
        tokens > 0 && self.rule.every > 0 && tokens.is_multiple_of(self.rule.every)
    }

    /// Takes a probe, a unit vector, and tells whether the thought has converged.
    pub fn observe(&mut self, probe: Vec<f32>) -> bool {
        let agrees = self.last.as_ref().is_some_and(|last| {
            let cosine: f32 = last.iter().zip(&probe).map(|(a, b)| a * b).sum();
            cosine >= self.rule.similarity
        });
        self.agreements = if agrees { self.agreements + 1 } else { 0 };
        self.last = Some(probe);
        self.agreements >= AGREEMENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes at these angles, in degrees; tells after each whether it converged.
    #[track_caller]
    fn check(degrees: &[f32], want: &[bool]) {
        let mut watch = ConvergenceWatch::new(Convergence { every: 4, similarity: 0.99 });
        let probe = |degrees: &f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            watch.observe(vec![cos, sin])
        };
        assert_eq!(degrees.iter().map(probe).collect::<Vec<_>>(), want);
    }

    #[test]
    fn two_agreements_in_a_row_end_a_thought() {
        check(&[0.0, 1.0, 2.0], &[false, false, true]);
        check(&[0.0, 1.0, 40.0, 41.0, 42.0], &[false, false, false, false, true]);
        check(&[0.0, 30.0, 60.0, 90.0], &[false; 4]);
        // Slow drift is not told from rest: each probe is compared with the one before it.
        check(&[0.0, 7.0, 14.0], &[false, false, true]);
    }

    #[test]
    fn probes_come_every_so_many_tokens() {
        let watch = ConvergenceWatch::new(Convergence { every: 4, similarity: 0.99 });
        let due: Vec<u32> = (0..13).filter(|&tokens| watch.is_due(tokens)).collect();
        assert_eq!(due, [4, 8, 12]);
    }
}
