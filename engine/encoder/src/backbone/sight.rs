//! What a prompt's images and videos put into its rows.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};

use super::{Addition, BackboneConfig, Grid, Position, Stretch, VisionStates, positions_of};
use crate::error::EncoderError;

/// What a prompt's images and videos put into its rows: the tower's states in the places of
/// the tokens that stand for pixels, positions, and additions between layers.
#[derive(Debug)]
pub struct Sight {
    /// One for each token of the prompt.
    positions: Vec<Position>,
    /// The position after them.
    next: u32,
    /// The tokens that stand for pixels, ascending; one for each row of `states`.
    spots: Vec<usize>,
    states: VisionStates,
}

impl Sight {
    /// Lays the states of `grids`, in reading order, into the places that `tokens` has for
    /// them. Every slice of a grid takes one run of image or video tokens.
    ///
    /// # Errors
    /// Fails when the model has no tower, or the runs do not fit the grids.
    pub fn new(
        config: &BackboneConfig,
        tokens: &[u32],
        grids: &[Grid],
        states: VisionStates,
    ) -> Result<Self, EncoderError> {
        let refuse = |problem: String| EncoderError::Internal { problem };
        let Some(vision) = &config.vision else {
            return Err(refuse("the model has no vision tower".to_owned()));
        };
        let stands_for_pixels =
            |token: u32| token == vision.image_token || token == vision.video_token;
        let merge = vision.merge_size;
        for grid in grids {
            grid.check(merge).map_err(refuse)?;
        }
        let slices = grids.iter().flat_map(|grid| {
            std::iter::repeat_n((grid.height / merge, grid.width / merge), grid.slices)
        });
        let (mut stretches, mut spots, mut at) = (Vec::new(), Vec::new(), 0);
        for (height, width) in slices {
            let text = tokens[at..].iter().take_while(|&&token| !stands_for_pixels(token)).count();
            let start = at + text;
            let own = start..start + height * width;
            let run = tokens.get(own.clone());
            if !run.is_some_and(|run| {
                run.iter().all(|&token| token == run[0] && stands_for_pixels(token))
            }) {
                return Err(refuse(format!(
                    "the prompt has no run of {} tokens for a grid of {height} x {width}",
                    own.len()
                )));
            }
            stretches.extend([Stretch::Text(text), Stretch::Grid { height, width }]);
            at = own.end;
            spots.extend(own);
        }
        if tokens[at..].iter().any(|&token| stands_for_pixels(token)) {
            return Err(refuse("the prompt has more vision tokens than there are patches".into()));
        }
        stretches.push(Stretch::Text(tokens.len() - at));
        if states.rows.dims()[0] != spots.len() {
            return Err(refuse(format!(
                "the tower gave {} rows for {} tokens",
                states.rows.dims()[0],
                spots.len()
            )));
        }
        let positions = positions_of(&stretches);
        let next = positions.iter().flatten().max().map_or(0, |largest| largest + 1);
        Ok(Self { positions, next, spots, states })
    }

    /// The tokens that stand for pixels.
    pub fn tokens(&self) -> usize {
        self.spots.len()
    }

    /// Tells whether the prompt's token `index` stands for pixels.
    pub fn stands_for_pixels(&self, index: usize) -> bool {
        self.spots.binary_search(&index).is_ok()
    }

    /// The position of the prompt's token `index`, or of the text that follows the prompt.
    pub fn position(&self, index: usize) -> Position {
        match self.positions.get(index) {
            Some(position) => *position,
            None => [self.next + (index - self.positions.len()) as u32; 3],
        }
    }

    /// The positions of the prompt's tokens.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Puts states into `rows`, the embedded tokens `range` of the prompt, which begin at
    /// row `first` of a pass. Returns the rows and what is added to them between layers.
    pub fn put(
        &self,
        rows: Tensor<2>,
        range: Range<usize>,
        first: usize,
    ) -> (Tensor<2>, Vec<Addition>) {
        let start = self.spots.partition_point(|&spot| spot < range.start);
        let end = self.spots.partition_point(|&spot| spot < range.end);
        if start == end {
            return (rows, Vec::new());
        }
        let within: Vec<usize> =
            self.spots[start..end].iter().map(|spot| spot - range.start).collect();
        let own = |states: &Tensor<2>| states.clone().slice(start..end);
        let indices: Vec<i32> = within.iter().map(|&row| row as i32).collect();
        let indices = TensorData::new(indices, [within.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &rows.device());
        // Adding the difference puts the state there: assignment by index only adds.
        let held = rows.clone().select(0, indices.clone());
        let rows = rows.select_assign(
            0,
            indices,
            own(&self.states.rows) - held,
            burn::tensor::IndexingUpdateOp::Add,
        );
        let of_pass: Vec<usize> = within.iter().map(|row| first + row).collect();
        let additions = self.states.deepstack.iter().enumerate().map(|(layer, states)| Addition {
            layer,
            rows: of_pass.clone(),
            values: own(states),
        });
        (rows, additions.collect())
    }
}
