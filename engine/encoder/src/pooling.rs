//! Pooling: from hidden states to one unit vector.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    adapter::{HostTensors, parameter, to_host},
    checkpoint::HostTensor,
    error::EncoderError,
    lexicon::Lexicon,
    queries::take_tensor,
};

/// The most dimensions that a part of an embedding may have.
pub(crate) const DIMENSION_MAX: usize = 16_384;

/// What becomes the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pooling {
    /// The mean of the query states.
    #[serde(rename = "queries")]
    Queries,
    /// The mean of the hidden states of content and thought.
    #[serde(rename = "mean")]
    Mean,
    /// The sum of both, each through its projection.
    #[serde(rename = "queries+mean")]
    QueriesAndMean,
}

/// An affine map of one part of the embedding.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[dimension, hidden]`.
    pub weight: Param<Tensor<2>>,
    /// `[dimension]`.
    pub bias: Param<Tensor<1>>,
}

/// Makes embeddings of the pooled parts.
#[derive(Module, Debug)]
pub struct Pooler {
    /// Maps the mean of the query states; none leaves it as it is.
    pub queries: Option<Projection>,
    /// Maps the mean of the content's and thought's states; none leaves it as it is.
    pub mean: Option<Projection>,
    /// Makes the embedding's last dimensions, if there is one.
    pub lexicon: Option<Lexicon>,
}

impl Pooling {
    /// The name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Mean => "mean",
            Self::QueriesAndMean => "queries+mean",
        }
    }

    /// Tells whether query states are part of the embedding.
    pub fn uses_queries(self) -> bool {
        matches!(self, Self::Queries | Self::QueriesAndMean)
    }

    /// Tells whether content and thought states are part of the embedding.
    pub fn uses_mean(self) -> bool {
        matches!(self, Self::Mean | Self::QueriesAndMean)
    }
}

impl Projection {
    /// Puts a host matrix (`[dimension, hidden]`) and bias on a device.
    ///
    /// # Panics
    /// Panics when their shapes do not agree.
    pub fn new(weight: HostTensor, bias: HostTensor, device: &Device) -> Self {
        assert_eq!(weight.shape[..1], bias.shape[..], "one bias a dimension");
        Self { weight: parameter(weight, device), bias: parameter(bias, device) }
    }

    fn take(
        tensors: &mut HostTensors,
        name: &str,
        hidden: usize,
        device: &Device,
    ) -> Result<Option<Self>, String> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let Some(dimension) = tensors.get(&weight).and_then(|w| w.shape.first().copied()) else {
            return Ok(None);
        };
        if !(1..=DIMENSION_MAX).contains(&dimension) {
            return Err(format!("{name} has {dimension} dimensions, must be 1 to {DIMENSION_MAX}"));
        }
        let weight = take_tensor(tensors, &weight, &[dimension, hidden])?;
        let bias = take_tensor(tensors, &bias, &[dimension])?;
        Ok(Some(Self { weight: parameter(weight, device), bias: parameter(bias, device) }))
    }

    /// Puts weight and bias into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors, name: &str) {
        tensors.insert(format!("{name}.weight"), to_host(&self.weight));
        tensors.insert(format!("{name}.bias"), to_host(&self.bias));
    }

    fn dimension(&self) -> usize {
        self.bias.dims()[0]
    }

    /// Maps rows, `[n, hidden]`, to `[n, dimension]`.
    pub(crate) fn apply(&self, rows: Tensor<2>) -> Tensor<2> {
        rows.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}

impl Pooler {
    /// Pools without any projection.
    pub(crate) fn plain() -> Self {
        Self { queries: None, mean: None, lexicon: None }
    }

    /// Draws projections to `dimension` for the parts that `pooling` uses: uniform in
    /// `±1 / sqrt(hidden)`, and zero for the queries beside a mean, so that they begin by
    /// adding nothing to it.
    pub(crate) fn fresh(
        pooling: Pooling,
        dimension: usize,
        hidden: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / (hidden as f32).sqrt();
        let mut draw = |silent: bool| {
            let mut value = || if silent { 0.0 } else { rng.random_range(-bound..bound) };
            let values = (0..dimension * hidden).map(|_| value()).collect();
            Projection::new(
                HostTensor { shape: vec![dimension, hidden], values },
                HostTensor { shape: vec![dimension], values: vec![0.0; dimension] },
                device,
            )
        };
        Self {
            mean: pooling.uses_mean().then(|| draw(false)),
            queries: pooling.uses_queries().then(|| draw(pooling.uses_mean())),
            lexicon: None,
        }
    }

    /// Takes the projections and the lexicon, if there are any, out of a head's tensors.
    pub(crate) fn take(
        tensors: &mut HostTensors,
        pooling: Pooling,
        (vocabulary, hidden): (usize, usize),
        device: &Device,
    ) -> Result<Self, String> {
        let queries = Projection::take(tensors, "project.queries", hidden, device)?;
        let mean = Projection::take(tensors, "project.mean", hidden, device)?;
        let stray = (queries.is_some() && !pooling.uses_queries())
            || (mean.is_some() && !pooling.uses_mean());
        if stray {
            return Err(format!(
                "a projection is there that pooling `{}` does not use",
                pooling.name()
            ));
        }
        let width = |part: &Option<Projection>| part.as_ref().map_or(hidden, Projection::dimension);
        if pooling == Pooling::QueriesAndMean && width(&queries) != width(&mean) {
            return Err(format!(
                "queries are projected to {} dimensions and means to {}; they must agree",
                width(&queries),
                width(&mean)
            ));
        }
        let lexicon = Lexicon::take(tensors, vocabulary, hidden, device)?;
        Ok(Self { queries, mean, lexicon })
    }

    /// Puts the projections and the lexicon into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors) {
        if let Some(projection) = &self.queries {
            projection.put(tensors, "project.queries");
        }
        if let Some(projection) = &self.mean {
            projection.put(tensors, "project.mean");
        }
        if let Some(lexicon) = &self.lexicon {
            lexicon.put(tensors);
        }
    }

    /// What the embedding is made of, in a word: the name of `pooling`, and of the lexicon if
    /// there is one.
    pub(crate) fn describe(&self, pooling: Pooling) -> &'static str {
        match (pooling, &self.lexicon) {
            (_, None) => pooling.name(),
            (Pooling::Queries, Some(_)) => "queries+lexicon",
            (Pooling::Mean, Some(_)) => "mean+lexicon",
            (Pooling::QueriesAndMean, Some(_)) => "queries+mean+lexicon",
        }
    }

    /// Length of the embeddings.
    pub fn dimension(&self, hidden: usize) -> usize {
        self.mean.as_ref().or(self.queries.as_ref()).map_or(hidden, Projection::dimension)
            + self.lexicon.as_ref().map_or(0, Lexicon::dimension)
    }

    /// Pools `[inputs, K, hidden]` query states and `[inputs, hidden]` means, of which
    /// `pooling` says what is used, and the lexicon's sums, `[inputs, hidden]`, to embeddings
    /// `[inputs, dimension]`, not normalised.
    ///
    /// # Panics
    /// Panics when a part that is used is not given.
    pub fn pool(
        &self,
        pooling: Pooling,
        query_states: Option<Tensor<3>>,
        means: Option<Tensor<2>>,
        bags: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let project = |projection: &Option<Projection>, rows: Tensor<2>| match projection {
            Some(projection) => projection.apply(rows),
            None => rows,
        };
        let queries = pooling.uses_queries().then(|| {
            let states = query_states.expect("pooling that uses query states is given them");
            project(&self.queries, states.mean_dim(1).squeeze_dim::<2>(1))
        });
        let mean = pooling
            .uses_mean()
            .then(|| project(&self.mean, means.expect("pooling that uses means is given them")));
        let states = match (queries, mean) {
            (Some(queries), Some(mean)) => queries + mean,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => unreachable!("every pooling uses at least one part"),
        };
        match &self.lexicon {
            Some(lexicon) => {
                let words = lexicon.part(bags.expect("a lexicon is given sums"));
                Tensor::cat(vec![unit_rows(states), words], 1)
            }
            None => states,
        }
    }
}

/// Scales rows to length 1; those of zeros stay.
pub fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    let norm = rows.clone().square().sum_dim(1).add_scalar(1e-12).sqrt();
    rows / norm
}

/// Scales a vector to length 1.
///
/// # Errors
/// Fails when a value is not finite or all are zero, so that neither a NaN nor a vector
/// without direction gets out.
pub(crate) fn unit(mut values: Vec<f32>) -> Result<Vec<f32>, EncoderError> {
    let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(EncoderError::Internal { problem: format!("the embedding has length {norm}") });
    }
    for value in &mut values {
        *value = (f64::from(*value) / norm) as f32;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    fn parts() -> (Tensor<3>, Tensor<2>) {
        let device = Device::flex();
        let states = TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 2, 2]);
        let means = TensorData::new(vec![10.0_f32, 20.0], [1, 2]);
        (Tensor::from_data(states, &device), Tensor::from_data(means, &device))
    }

    #[track_caller]
    fn check(pooler: &Pooler, pooling: Pooling, want: &[f32]) {
        let (states, means) = parts();
        let pooled = pooler.pool(pooling, Some(states), Some(means), None).into_data();
        assert_eq!(pooled.try_to_vec::<f32>().expect("f32"), want);
    }

    #[test]
    fn poolings_use_their_parts() {
        check(&Pooler::plain(), Pooling::Queries, &[2.0, 3.0]);
        check(&Pooler::plain(), Pooling::Mean, &[10.0, 20.0]);
        check(&Pooler::plain(), Pooling::QueriesAndMean, &[12.0, 23.0]);
    }

    #[test]
    fn projections_apply_to_their_part() {
        let tensor = |shape: &[usize], values: &[f32]| HostTensor {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let projections = |name: &str, weight: [f32; 2]| {
            [
                (format!("project.{name}.weight"), tensor(&[1, 2], &weight)),
                (format!("project.{name}.bias"), tensor(&[1], &[0.5])),
            ]
        };
        let mut both: HostTensors = projections("queries", [1.0, 1.0])
            .into_iter()
            .chain(projections("mean", [1.0, -1.0]))
            .collect();
        let device = Device::flex();
        let refused =
            Pooler::take(&mut both.clone(), Pooling::Mean, (3, 2), &device).expect_err("stray");
        assert!(refused.contains("`mean` does not use"), "{refused}");
        let pooler =
            Pooler::take(&mut both, Pooling::QueriesAndMean, (3, 2), &device).expect("valid");
        check(&pooler, Pooling::QueriesAndMean, &[5.5 - 9.5]);
        assert_eq!(pooler.dimension(2), 1);

        let mut one: HostTensors = projections("queries", [1.0, 1.0]).into_iter().collect();
        let refused =
            Pooler::take(&mut one, Pooling::QueriesAndMean, (3, 2), &device).expect_err("uneven");
        assert!(refused.contains("must agree"), "{refused}");
    }

    #[test]
    fn a_lexicon_stands_beside_the_states() {
        let device = Device::flex();
        let projection = HostTensor { shape: vec![1, 2], values: vec![-3.0, 0.0] };
        let lexicon = Lexicon::new(vec![1.0; 3], projection, 0.5, &device);
        let pooler = Pooler { lexicon: Some(lexicon), ..Pooler::plain() };
        assert_eq!(pooler.dimension(2), 3);
        let bags = Tensor::from_data(TensorData::new(vec![7.0_f32, 0.0], [1, 2]), &device);
        let means = Tensor::from_data(TensorData::new(vec![30.0_f32, 40.0], [1, 2]), &device);
        let pooled = pooler.pool(Pooling::Mean, None, Some(means), Some(bags)).into_data();
        let pooled = pooled.try_to_vec::<f32>().expect("f32");
        let near = pooled.iter().zip([0.6, 0.8, -0.5]).all(|(got, want)| (got - want).abs() < 1e-6);
        assert!(near, "{pooled:?}");
    }

    #[test]
    fn unit_refuses_what_has_no_direction() {
        assert_eq!(unit(vec![3.0, 4.0]).expect("finite"), [0.6, 0.8]);
        for values in [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]] {
            assert!(matches!(unit(values), Err(EncoderError::Internal { .. })));
        }
    }
}
