//! By how little two greedy decodings part.
//!
//! Both are shown the same thought, the reference's, so that their logits at each of its tokens
//! are about the same text. Up to where they part, the error of a decision is how much the lead of
//! the reference's first choice over its second differs between the two. A decoding that parts
//! from the reference where the reference's own lead is within such errors is explained by them.

use std::fmt;

use anyhow::ensure;

/// What one or several thoughts show.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Divergence {
    /// Errors of the leads at the tokens that both choose, in logits.
    pub(crate) errors: Vec<f64>,
    /// The reference's lead where the other chooses differently, in logits; the first of a
    /// thought.
    pub(crate) gaps: Vec<f64>,
}

impl Divergence {
    /// Adds a thought, by the logits of both for each of its tokens and for the one after.
    ///
    /// # Errors
    /// Fails where the logits are not of the same tokens and the same vocabulary.
    pub(crate) fn add(&mut self, reference: &[Vec<f32>], ours: &[Vec<f32>]) -> anyhow::Result<()> {
        ensure!(reference.len() == ours.len(), "{} and {} tokens", reference.len(), ours.len());
        for (reference, ours) in reference.iter().zip(ours) {
            ensure!(reference.len() == ours.len(), "vocabularies differ");
            ensure!(reference.len() > 1, "there is nothing to choose from");
            let (first, second) = two_largest(reference);
            let (chosen, _) = two_largest(ours);
            let lead = |logits: &[f32], over: usize| f64::from(logits[first] - logits[over]);
            if chosen != first {
                self.gaps.push(lead(reference, chosen));
                break;
            }
            self.errors.push((lead(ours, second) - lead(reference, second)).abs());
        }
        Ok(())
    }

    /// The largest error at tokens that both choose.
    fn largest_error(&self) -> f64 {
        self.errors.iter().copied().fold(0.0, f64::max)
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let squares: f64 = self.errors.iter().map(|error| error * error).sum();
        let rms = (squares / self.errors.len().max(1) as f64).sqrt();
        let largest = self.largest_error();
        write!(f, "leads differ by {rms:.3} (rms), {largest:.3} at most")?;
        if !self.gaps.is_empty() {
            let gaps: Vec<String> = self.gaps.iter().map(|gap| format!("{gap:.3}")).collect();
            let within = self.gaps.iter().filter(|&&gap| gap < largest).count();
            let (gaps, parted) = (gaps.join(", "), self.gaps.len());
            write!(f, "; parted at leads of {gaps}: {within} of {parted} within that")?;
        }
        Ok(())
    }
}

/// Positions of the largest value, the first of equal ones, and of the next.
fn two_largest(values: &[f32]) -> (usize, usize) {
    let (mut first, mut second) = if values[1] > values[0] { (1, 0) } else { (0, 1) };
    for (at, value) in values.iter().enumerate().skip(2) {
        if *value > values[first] {
            (first, second) = (at, first);
        } else if *value > values[second] {
            second = at;
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_end_where_choices_part() {
        let mut divergence = Divergence::default();
        let reference = [vec![3.0, 1.0, 0.0], vec![0.0, 2.0, 1.75], vec![9.0, 0.0, 0.0]];
        let ours = [vec![3.0, 1.5, 0.0], vec![0.0, 1.5, 1.75], vec![0.0, 9.0, 0.0]];
        divergence.add(&reference, &ours).unwrap();
        assert_eq!(divergence.errors, [0.5]);
        assert_eq!(divergence.gaps, [0.25]);
        assert_eq!(
            divergence.to_string(),
            "leads differ by 0.500 (rms), 0.500 at most; parted at leads of 0.250: 1 of 1 within that"
        );
    }

    #[test]
    fn a_gap_beyond_the_errors_is_not_explained() {
        let mut divergence = Divergence { errors: vec![0.1], gaps: vec![] };
        divergence.add(&[vec![1.0, 0.0]], &[vec![0.0, 1.0]]).unwrap();
        assert!(divergence.to_string().ends_with("parted at leads of 1.000: 0 of 1 within that"));
    }

    #[test]
    fn the_two_largest_are_found_wherever_they_are() {
        for (values, want) in [
            (vec![1.0, 2.0, 3.0], (2, 1)),
            (vec![3.0, 2.0, 1.0], (0, 1)),
            (vec![2.0, 1.0, 3.0], (2, 0)),
            (vec![1.0, 3.0, 2.0], (1, 2)),
            (vec![2.0, 2.0, 2.0], (0, 1)),
        ] {
            assert_eq!(two_largest(&values), want, "{values:?}");
        }
    }

    #[test]
    fn logits_of_other_texts_are_refused() {
        let mut divergence = Divergence::default();
        assert!(divergence.add(&[vec![1.0, 2.0]], &[]).is_err());
        assert!(divergence.add(&[vec![1.0, 2.0]], &[vec![1.0]]).is_err());
    }
}
