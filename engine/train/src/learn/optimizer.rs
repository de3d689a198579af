//! AdamW with a global norm, and moments that survive a restart bit by bit.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Gradients, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

/// AdamW's constants (arXiv 1711.05101).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWOptions {
    /// Decay of the gradients' mean.
    pub beta_1: f64,
    /// Decay of the squared gradients' mean.
    pub beta_2: f64,
    /// Added to the root of the squared gradients' mean.
    pub epsilon: f64,
    /// Decay of the weights, times the learning rate.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm over all parameters.
    pub norm_max: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.98, epsilon: 1e-8, weight_decay: 0.01, norm_max: 1.0 }
    }
}

/// Gradients of parameters by the parameters' order in the module.
#[derive(Debug, Default)]
pub struct ParameterGradients(BTreeMap<usize, Tensor<1>>);

/// AdamW and its moments.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    moments: BTreeMap<usize, Moments>,
    steps: usize,
}

#[derive(Debug)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
    /// Steps that had a gradient for this parameter, for the bias correction.
    steps: usize,
}

/// An optimiser's state on the host, by the parameters' order in the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: usize,
    /// `(steps, mean, squared mean)` of each parameter that has had a gradient.
    pub moments: BTreeMap<usize, (usize, Vec<f32>, Vec<f32>)>,
}

impl ParameterGradients {
    /// Takes a module's gradients out of a backward pass.
    pub fn take<M: Module>(module: &M, gradients: &mut Gradients) -> Self {
        let mut taking = Taking { gradients, order: Order::default(), taken: BTreeMap::new() };
        module.visit(&mut taking);
        Self(taking.taken)
    }

    /// Adds another pass's gradients.
    pub fn add(&mut self, other: Self) {
        for (index, gradient) in other.0 {
            let sum = match self.0.remove(&index) {
                Some(before) => before + gradient,
                None => gradient,
            };
            self.0.insert(index, sum);
        }
    }

    /// The gradients on the host, by the parameters' order; `None` for one without.
    pub fn to_host(&self) -> BTreeMap<usize, Vec<f32>> {
        self.0.iter().map(|(&index, gradient)| (index, host(gradient))).collect()
    }

    /// The norm over all parameters.
    pub fn norm(&self) -> f32 {
        let squares = self.0.values().map(|gradient| gradient.clone().square().sum());
        match squares.reduce(|one, other| one + other) {
            Some(sum) => sum.sqrt().into_scalar::<f32>(),
            None => 0.0,
        }
    }
}

impl AdamW {
    /// Starts without moments.
    pub fn new(options: AdamWOptions) -> Self {
        Self { options, moments: BTreeMap::new(), steps: 0 }
    }

    /// Goes on where `state` was taken; `None` when its moments are not `module`'s.
    pub fn resume<M: Module>(
        options: AdamWOptions,
        state: OptimizerState,
        module: &M,
    ) -> Option<Self> {
        let mut sizes = Sizes::default();
        module.visit(&mut sizes);
        let fits = |(index, (_, mean, square)): (&usize, &(usize, Vec<f32>, Vec<f32>))| {
            sizes.0.get(*index).is_some_and(|&size| mean.len() == size && square.len() == size)
        };
        if !state.moments.iter().all(fits) {
            return None;
        }
        let device = module.devices().remove(0).inner();
        let put = |values: Vec<f32>| {
            let len = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [len]), &device)
        };
        let moments = state.moments.into_iter().map(|(index, (steps, mean, square))| {
            (index, Moments { mean: put(mean), square: put(square), steps })
        });
        Some(Self { options, moments: moments.collect(), steps: state.steps })
    }

    /// The state on the host.
    pub fn state(&self) -> OptimizerState {
        let of = |moments: &Moments| (moments.steps, host(&moments.mean), host(&moments.square));
        OptimizerState {
            steps: self.steps,
            moments: self.moments.iter().map(|(&index, moments)| (index, of(moments))).collect(),
        }
    }

    /// Takes one step and tells the gradients' norm before it was bounded. Parameters
    /// without a gradient stay as they are.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: ParameterGradients,
        learning_rate: f64,
    ) -> (M, f32) {
        self.steps += 1;
        let norm = gradients.norm();
        let factor = (self.options.norm_max / f64::from(norm).max(1e-12)).min(1.0);
        let mut stepping = Stepping {
            optimizer: self,
            gradients: gradients.0,
            factor,
            learning_rate,
            order: Order::default(),
        };
        (module.map(&mut stepping), norm)
    }

    /// Moves a flat parameter by its flat gradient.
    fn update(
        &mut self,
        index: usize,
        value: Tensor<1>,
        gradient: Tensor<1>,
        learning_rate: f64,
    ) -> Tensor<1> {
        let AdamWOptions { beta_1, beta_2, epsilon, weight_decay, .. } = self.options;
        let squared = gradient.clone().square();
        let (mean, square, steps) = match self.moments.remove(&index) {
            Some(before) => (
                before.mean.mul_scalar(beta_1) + gradient.mul_scalar(1.0 - beta_1),
                before.square.mul_scalar(beta_2) + squared.mul_scalar(1.0 - beta_2),
                before.steps + 1,
            ),
            None => (gradient.mul_scalar(1.0 - beta_1), squared.mul_scalar(1.0 - beta_2), 1),
        };
        let corrected = |beta: f64| 1.0 - beta.powi(steps.try_into().unwrap_or(i32::MAX));
        let root = square.clone().div_scalar(corrected(beta_2)).sqrt().add_scalar(epsilon);
        let change = mean.clone().div_scalar(corrected(beta_1)) / root;
        self.moments.insert(index, Moments { mean, square, steps });
        value.mul_scalar(1.0 - learning_rate * weight_decay) - change.mul_scalar(learning_rate)
    }
}

fn host(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.clone().into_data().convert::<f32>().try_to_vec().expect("converted to f32")
}

/// Numbers parameters in the module's order, one that occurs twice once.
#[derive(Default)]
struct Order {
    seen: BTreeMap<ParamId, usize>,
}

impl Order {
    fn of(&mut self, id: ParamId) -> usize {
        let next = self.seen.len();
        *self.seen.entry(id).or_insert(next)
    }
}

#[derive(Default)]
struct Sizes(Vec<usize>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.dims().iter().product());
    }
}

struct Taking<'a> {
    gradients: &'a mut Gradients,
    order: Order,
    taken: BTreeMap<usize, Tensor<1>>,
}

impl ModuleVisitor for Taking<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let index = self.order.of(param.id);
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            let len = param.dims().iter().product::<usize>();
            self.taken.insert(index, gradient.inner().reshape([len]));
        }
    }
}

struct Stepping<'a> {
    optimizer: &'a mut AdamW,
    gradients: BTreeMap<usize, Tensor<1>>,
    factor: f64,
    learning_rate: f64,
    order: Order,
}

impl ModuleMapper for Stepping<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let index = self.order.of(param.id);
        let Some(gradient) = self.gradients.remove(&index) else { return param };
        let gradient = gradient.mul_scalar(self.factor);
        param.map(|tensor| {
            let dims = tensor.dims();
            let value = tensor.inner().reshape([dims.iter().product::<usize>()]);
            let value = self.optimizer.update(index, value, gradient, self.learning_rate);
            value.reshape(dims).autodiff().require_grad()
        })
    }
}
