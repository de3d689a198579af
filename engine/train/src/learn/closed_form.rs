//! Where the projection of the means begins: the ridge regression from a bare backbone's
//! mean-pooled states to the teacher's vectors.

use burn::tensor::Tensor;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use twn_encoder::{HostTensor, Projection};

use super::{
    Batch, Example, Sequence, Sequencer, Student, Teacher, TrainError, group_by_length,
    ridge::{AffineMap, ridge},
};

/// Texts that the fit reads: several for each of its coefficients' columns.
const TEXTS: usize = 3_000;
/// Positions of one pass.
const PASS_TOKENS: usize = 4_096;
/// Weight of the penalty, relative to the mean variance.
const PENALTY: f64 = 0.1;

/// Fits the projection of the means to the teacher. Does nothing when the teacher has read
/// too few texts.
///
/// # Errors
/// Fails when a text cannot be made into a prompt, or the states are not finite.
pub(super) fn fit_mean_projection(
    student: &mut Student,
    sequencer: &Sequencer,
    teacher: &Teacher,
    data: &BTreeMap<String, Vec<Example>>,
    seed: u64,
) -> Result<(), TrainError> {
    let mut texts: Vec<(&str, bool)> = Vec::new();
    for example in data.values().flatten() {
        texts.push((&example.query, false));
        texts.extend(example.positives.iter().map(|text| (text.as_str(), true)));
    }
    texts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut sequences = Vec::new();
    let mut wanted = Vec::new();
    for (text, is_document) in texts {
        let Some(vector) = teacher.vector(text) else { continue };
        sequences.push(match is_document {
            true => sequencer.document(text)?,
            false => sequencer.query(text, None)?,
        });
        wanted.push(vector);
        if wanted.len() == TEXTS {
            break;
        }
    }
    let hidden = student.backbone().config().hidden_size;
    if wanted.len() < 2 * hidden {
        return Ok(());
    }
    let means = all_means(&student.frozen(), &sequences)?;
    let AffineMap { weight, bias } = ridge(&means, &wanted, PENALTY)
        .ok_or_else(|| TrainError::Internal { problem: "means are not finite".to_owned() })?;
    let dimension = teacher.dimension();
    student.adapters.pooler.mean = Some(Projection::new(
        HostTensor { shape: vec![dimension, hidden], values: weight },
        HostTensor { shape: vec![dimension], values: bias },
        student.device(),
    ));
    Ok(())
}

fn all_means(student: &Student, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut all = vec![Vec::new(); sequences.len()];
    for group in group_by_length(sequences, student.queries(), PASS_TOKENS) {
        let rows = group.iter().map(|&index| &sequences[index]).collect();
        let means = student.means(&Batch::new(rows, student.queries()));
        let width = means.dims()[1];
        let values = means.into_data().convert::<f32>();
        let values = values.try_to_vec::<f32>().expect("converted to f32");
        for (&index, row) in group.iter().zip(values.chunks_exact(width)) {
            row.clone_into(&mut all[index]);
        }
    }
    Ok(all)
}

impl Student {
    /// The means of what is pooled, before any projection: `[batch, hidden]`. The batch
    /// has room for [`Student::queries`] rows.
    pub(super) fn means(&self, batch: &Batch<'_>) -> Tensor<2> {
        let hidden = self.hidden_states(batch).inner();
        let [count, width] = [batch.count(), hidden.dims()[1]];
        let weights = batch.pooling_weights(&hidden.device());
        weights.matmul(hidden.reshape([count, batch.len, width])).reshape([count, width])
    }
}
