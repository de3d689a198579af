//! Vectors of length one: the only kind that is stored or searched with.

use crate::error::IndexError;

/// A finite vector scaled to Euclidean length 1, so that a dot product of two
/// is their cosine.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitVector(Vec<f32>);

impl UnitVector {
    /// Scales `values` to length 1.
    ///
    /// Refuses an empty vector, one that has a NaN or an infinity, and one
    /// whose length is zero: none of them has a direction.
    pub fn new(mut values: Vec<f32>) -> Result<Self, IndexError> {
        if values.is_empty() {
            return Err(IndexError::BadVector { problem: "it is empty".to_owned() });
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let problem = format!("value {position} is {}", values[position]);
            return Err(IndexError::BadVector { problem });
        }
        // In f64 no finite f32 overflows or vanishes when squared.
        let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(IndexError::BadVector { problem: "its length is zero".to_owned() });
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(Self(values))
    }

    /// Takes values that were normalised before they were stored, bit for bit.
    pub(crate) fn from_stored(values: Vec<f32>) -> Self {
        Self(values)
    }

    /// Returns the values.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Returns the number of values.
    pub fn dimension(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_finite_direction_is_scaled_to_one() {
        for scale in [1e-44_f32, 1e-20, 1.0, 1e20, 1e38] {
            let vector = UnitVector::new(vec![scale, -scale, scale]).unwrap();
            let length: f32 = vector.as_slice().iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-6, "scale {scale} gave {length}");
            assert!(vector.as_slice()[1] < 0.0);
        }
    }

    #[test]
    fn vectors_without_a_direction_are_refused() {
        for values in [vec![], vec![0.0, -0.0], vec![1.0, f32::NAN], vec![f32::INFINITY, 0.0]] {
            let error = UnitVector::new(values).unwrap_err();
            assert!(error.is_callers_fault(), "{error}");
        }
    }
}
