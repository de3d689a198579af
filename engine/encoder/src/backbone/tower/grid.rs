//! Grids of patches, and where each patch of one lies.

/// How the patches of an image or of some frames lie. Patches come frame by frame; within a
/// frame, blocks of `merge_size²` patches that become one token come row by row, and so do
/// the patches of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Slices in time, of `frames` frames each; 1 for an image.
    pub slices: usize,
    /// Rows of patches.
    pub height: usize,
    /// Columns of patches.
    pub width: usize,
}

impl Grid {
    /// Patches there are.
    pub fn patches(self) -> usize {
        self.slices * self.height * self.width
    }

    /// Tokens that they become.
    pub fn tokens(self, merge_size: usize) -> usize {
        self.patches() / (merge_size * merge_size)
    }

    /// Refuses a grid that is empty or does not fall into blocks.
    pub(crate) fn check(self, merge_size: usize) -> Result<(), String> {
        let Self { slices, height, width } = self;
        let has_blocks = height.is_multiple_of(merge_size) && width.is_multiple_of(merge_size);
        if slices == 0 || height == 0 || width == 0 || !has_blocks {
            return Err(format!(
                "a grid of {slices} x {height} x {width} patches does not fall into blocks of \
                 {merge_size} x {merge_size}"
            ));
        }
        Ok(())
    }

    /// Row and column of each patch of one slice, in the patches' order.
    pub(crate) fn places(self, merge_size: usize) -> Vec<(usize, usize)> {
        let (rows, columns) = (self.height / merge_size, self.width / merge_size);
        let blocks = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        blocks
            .flat_map(|(row, column)| {
                (0..merge_size * merge_size).map(move |within| {
                    let (down, right) = (within / merge_size, within % merge_size);
                    (row * merge_size + down, column * merge_size + right)
                })
            })
            .collect()
    }
}

/// For each patch of a slice four entries of a square table of `side²` learned positions,
/// and their shares: the table stretched over the grid, corners on corners, bilinearly.
pub(crate) fn interpolation(grid: Grid, merge_size: usize, side: usize) -> Vec<[(usize, f32); 4]> {
    let taps = |index: usize, size: usize| {
        let at = index as f32 * (side - 1) as f32 / (size.max(2) - 1) as f32;
        let first = at.floor();
        let share = at - first;
        let first = (first as usize).min(side - 1);
        [(first, 1.0 - share), ((first + 1).min(side - 1), share)]
    };
    let of_place = |(row, column)| {
        let [up, down] = taps(row, grid.height);
        let [left, right] = taps(column, grid.width);
        [(up, left), (up, right), (down, left), (down, right)]
            .map(|((row, a), (column, b))| (row * side + column, a * b))
    };
    grid.places(merge_size).into_iter().map(of_place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_a_block_follow_one_another() {
        let grid = Grid { slices: 1, height: 2, width: 4 };
        let want = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)];
        assert_eq!(grid.places(2), want);
    }

    #[test]
    fn corners_of_the_table_lie_on_corners_of_the_grid() {
        let grid = Grid { slices: 1, height: 6, width: 4 };
        let taps = interpolation(grid, 2, 3);
        let entry = |index: usize| {
            taps[index].into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("four taps")
        };
        assert_eq!(entry(0), (0, 1.0));
        assert_eq!(entry(23), (8, 1.0));
        for taps in taps {
            let total: f32 = taps.iter().map(|(_, share)| share).sum();
            assert!((total - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn odd_grids_are_refused() {
        assert!(Grid { slices: 1, height: 3, width: 4 }.check(2).is_err());
        assert!(Grid { slices: 0, height: 2, width: 4 }.check(2).is_err());
        assert!(Grid { slices: 2, height: 2, width: 4 }.check(2).is_ok());
    }
}
