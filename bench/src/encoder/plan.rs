//! Which speeds are compared, and what the ratios should be.

use twn_encoder::Activations;

use super::{
    contestant::{Adapters, Entrant, Other, Ours, Precision},
    workload::Workload,
};
use crate::rows::Target;

/// One row of the comparison of speeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pairing {
    pub(crate) workload: Workload,
    pub(crate) ours: Ours,
    pub(crate) peer: Entrant,
    pub(crate) target: Target,
}

impl Pairing {
    /// The row's name.
    pub(crate) fn what(&self) -> String {
        let Self { workload, ours, peer, .. } = self;
        format!("{workload}: {ours} vs {peer}")
    }
}

const PREFILLS: [Workload; 3] = [
    Workload::Prefill { batch: 1, tokens: 128 },
    Workload::Prefill { batch: 1, tokens: 512 },
    Workload::Prefill { batch: 8, tokens: 128 },
];
const DECODE_ONE: Workload = Workload::Decode { batch: 1, prompt: 128, steps: 64 };
const DECODE_EIGHT: Workload = Workload::Decode { batch: 8, prompt: 128, steps: 32 };

/// Our fast precisions, each with the peer that holds its weights alike.
const FAST: [(Precision, Other, f64); 2] =
    [(Precision::FourBit, Other::LlamaCppQ4, 1.3), (Precision::EightBit, Other::LlamaCppQ8, 1.1)];

/// Every pairing, in the order of the report.
pub(crate) fn pairings() -> Vec<Pairing> {
    let mut pairings = Vec::new();
    // llama.cpp rounds activations to int8, as we do in prompts unless told otherwise.
    for activations in [Activations::Auto, Activations::Int16] {
        for (precision, peer, decode_bound) in FAST {
            let with = |workload, bound| Pairing {
                workload,
                ours: Ours { activations, ..Ours::plain(precision) },
                peer: Entrant::Other(peer),
                target: Target::at_least(bound),
            };
            pairings.extend(PREFILLS.map(|prefill| with(prefill, 1.5)));
            pairings.push(with(DECODE_ONE, decode_bound));
            pairings.push(with(DECODE_EIGHT, 2.0));
        }
    }
    for (precision, ..) in FAST {
        let with = |workload, bound| Pairing {
            workload,
            ours: Ours::plain(precision),
            peer: Entrant::Other(Other::Torch),
            target: Target::at_least(bound),
        };
        pairings.extend(PREFILLS.map(|prefill| with(prefill, 1.5)));
        pairings.push(with(DECODE_ONE, 8.0));
    }
    for (precision, ..) in FAST {
        pairings.extend([PREFILLS[0], DECODE_ONE].map(|workload| Pairing {
            workload,
            ours: Ours { adapters: Adapters::RankEight, ..Ours::plain(precision) },
            peer: Entrant::Ours(Ours::plain(precision)),
            target: Target::at_least(0.9),
        }));
    }
    pairings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_its_own_name() {
        let names: BTreeSet<_> = pairings().iter().map(Pairing::what).collect();
        assert_eq!(names.len(), pairings().len());
        assert_eq!(names.len(), 2 * 2 * 5 + 2 * 4 + 2 * 2);
        assert!(names.contains("prefill 8x128: ours 4-bit vs llama.cpp q4_0"));
        assert!(names.contains("decode batch 8: ours 4-bit (int16) vs llama.cpp q4_0"));
        assert!(names.contains("decode batch 1: ours 8-bit with adapters vs ours 8-bit"));
    }

    #[test]
    fn peers_hold_their_weights_as_ours_do() {
        for pairing in pairings() {
            let alike = match (pairing.ours.precision, pairing.peer) {
                (Precision::FourBit, Entrant::Other(Other::LlamaCppQ8)) => false,
                (Precision::EightBit, Entrant::Other(Other::LlamaCppQ4)) => false,
                (precision, Entrant::Ours(ours)) => ours.precision == precision,
                _ => true,
            };
            assert!(alike, "{}", pairing.what());
        }
    }
}
