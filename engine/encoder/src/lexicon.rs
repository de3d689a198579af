//! The lexical part of embeddings: which words a text has, whatever they mean in it.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::{
    adapter::{HostTensors, parameter, to_host},
    checkpoint::HostTensor,
    pooling::{DIMENSION_MAX, unit_rows},
    queries::take_tensor,
};

const WEIGHTS: &str = "lexicon.weights";
const PROJECTION: &str = "lexicon.projection";
const SHARE: &str = "lexicon.share";

/// Makes a part of the embedding from the backbone's input embeddings of content and
/// thought, summed by the tokens' weights: rare words that two texts share count even where
/// states, which have read the whole text, have lost them. See docs/adr/0066.
#[derive(Module, Debug)]
pub struct Lexicon {
    /// How much a token counts, `[vocabulary]`.
    pub weights: Param<Tensor<1>>,
    /// `[lexical dimension, hidden]`.
    pub projection: Param<Tensor<2>>,
    /// Length of this part, where that of the states has length 1: `[1]`.
    pub share: Param<Tensor<1>>,
}

impl Lexicon {
    /// Puts weights of the vocabulary's tokens, a projection (`[dimension, hidden]`) and the
    /// part's length on a device.
    ///
    /// # Panics
    /// Panics when the tensors have other numbers of dimensions.
    pub fn new(weights: Vec<f32>, projection: HostTensor, share: f32, device: &Device) -> Self {
        let weights = HostTensor { shape: vec![weights.len()], values: weights };
        let share = HostTensor { shape: vec![1], values: vec![share] };
        Self {
            weights: parameter(weights, device),
            projection: parameter(projection, device),
            share: parameter(share, device),
        }
    }

    /// Takes the lexicon, if there is one, out of a head's tensors.
    pub(crate) fn take(
        tensors: &mut HostTensors,
        vocabulary: usize,
        hidden: usize,
        device: &Device,
    ) -> Result<Option<Self>, String> {
        let Some(dimension) = tensors.get(PROJECTION).and_then(|p| p.shape.first().copied()) else {
            return Ok(None);
        };
        if !(1..=DIMENSION_MAX).contains(&dimension) {
            return Err(format!(
                "{PROJECTION} has {dimension} dimensions, must be 1 to {DIMENSION_MAX}"
            ));
        }
        let weights = take_tensor(tensors, WEIGHTS, &[vocabulary])?;
        let projection = take_tensor(tensors, PROJECTION, &[dimension, hidden])?;
        let share = take_tensor(tensors, SHARE, &[1])?;
        Ok(Some(Self {
            weights: parameter(weights, device),
            projection: parameter(projection, device),
            share: parameter(share, device),
        }))
    }

    /// Puts the lexicon into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors) {
        tensors.insert(WEIGHTS.to_owned(), to_host(&self.weights));
        tensors.insert(PROJECTION.to_owned(), to_host(&self.projection));
        tensors.insert(SHARE.to_owned(), to_host(&self.share));
    }

    /// Length of the lexical part.
    pub fn dimension(&self) -> usize {
        self.projection.dims()[0]
    }

    /// The weighted sums of texts' input embeddings, `[texts, hidden]`. `embed` looks tokens
    /// up, `[tokens, hidden]`.
    pub fn bags(&self, texts: &[Vec<u32>], embed: impl Fn(&[u32]) -> Tensor<2>) -> Tensor<2> {
        bags(&self.weights.val(), self.projection.dims()[1], texts, embed)
    }

    /// The lexical part of embeddings from texts' sums: rows of the length that its share
    /// says, or of length 0 for a text without a word.
    pub(crate) fn part(&self, bags: Tensor<2>) -> Tensor<2> {
        let projected = unit_rows(bags).matmul(self.projection.val().transpose());
        unit_rows(projected) * self.share.val().unsqueeze()
    }
}

/// Sums of texts' input embeddings, `[texts, hidden]`, by the tokens' `weights`
/// (`[vocabulary]`). `embed` looks tokens up, `[tokens, hidden]`.
pub fn bags(
    weights: &Tensor<1>,
    hidden: usize,
    texts: &[Vec<u32>],
    embed: impl Fn(&[u32]) -> Tensor<2>,
) -> Tensor<2> {
    let device = weights.device();
    let ids = texts.concat();
    if ids.is_empty() {
        return Tensor::zeros([texts.len(), hidden], &device);
    }
    let rows = embed(&ids);
    let at: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let at = Tensor::<1, Int>::from_data(TensorData::new(at, [ids.len()]), &device);
    let weights = weights.clone().select(0, at).reshape([1, ids.len()]);
    let mut first = 0;
    let sums = texts.iter().map(|text| {
        let own = first..first + text.len();
        first = own.end;
        match own.is_empty() {
            true => Tensor::zeros([1, hidden], &device),
            false => weights.clone().slice([0..1, own.clone()]).matmul(rows.clone().slice(own)),
        }
    });
    Tensor::cat(sums.collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon() -> Lexicon {
        let projection = HostTensor { shape: vec![2, 2], values: vec![0.0, 2.0, 1.0, 0.0] };
        Lexicon::new(vec![1.0, 0.0, 3.0], projection, 0.5, &Device::flex())
    }

    /// Token 0 is `[1, 0]`, 1 is `[0, 1]`, 2 is `[1, 1]`.
    fn embed(ids: &[u32]) -> Tensor<2> {
        let rows = [[1.0_f32, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let values: Vec<f32> = ids.iter().flat_map(|&id| rows[id as usize]).collect();
        Tensor::from_data(TensorData::new(values, [ids.len(), 2]), &Device::flex())
    }

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn tokens_count_by_their_weights() {
        let texts = [vec![0, 1, 2], vec![], vec![1], vec![2, 2]];
        let bags = lexicon().bags(&texts, embed);
        assert_eq!(values(bags), [4.0, 3.0, 0.0, 0.0, 0.0, 0.0, 6.0, 6.0]);
        let none = lexicon().bags(&[vec![]], |_| unreachable!("nothing to look up"));
        assert_eq!(values(none), [0.0, 0.0]);
    }

    #[test]
    fn parts_have_the_length_of_their_share() {
        let part = values(lexicon().part(lexicon().bags(&[vec![0], vec![1]], embed)));
        assert!((part[1] - 0.5).abs() < 1e-6 && part[0].abs() < 1e-6, "{part:?}");
        assert_eq!(part[2..], [0.0, 0.0]);
    }

    #[test]
    fn what_is_put_is_taken_again_and_the_wrong_is_refused() {
        let mut tensors = HostTensors::new();
        lexicon().put(&mut tensors);
        let take = |mut tensors: HostTensors, vocabulary| {
            Lexicon::take(&mut tensors, vocabulary, 2, &Device::flex())
        };
        let again = take(tensors.clone(), 3).expect("valid").expect("there");
        assert_eq!(again.dimension(), 2);
        assert!(take(HostTensors::new(), 3).expect("valid").is_none());
        let refused = take(tensors.clone(), 4).expect_err("another vocabulary");
        assert!(refused.contains("expected [4]"), "{refused}");
        let none = HostTensor { shape: vec![0, 2], values: Vec::new() };
        let mut empty = tensors.clone();
        empty.insert(PROJECTION.to_owned(), none);
        let refused = take(empty, 3).expect_err("no dimension");
        assert!(refused.contains("has 0 dimensions"), "{refused}");
        tensors.remove(SHARE);
        let refused = take(tensors, 3).expect_err("a part");
        assert!(refused.contains("lexicon.share is missing"), "{refused}");
    }
}
