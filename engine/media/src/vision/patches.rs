//! Images and videos as the rows that a vision tower reads.

/// Patches of one image or video.
///
/// Rows are in merge-block order: `[t, h/m, w/m, m, m]`, so that the `m * m` rows that
/// become one token are neighbours. A row is `[channel, frame, y, x]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// `rows * row_len` normalised values.
    pub values: Vec<f32>,
    /// Patches along time, height and width.
    pub grid: Grid,
    /// For a video, the time of each step of the grid's `t`, in seconds; else empty.
    pub timestamps: Vec<f64>,
}

/// Patches along each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Steps of time: 1 for an image, one for each pair of a video's frames.
    pub t: u32,
    /// Rows of patches.
    pub h: u32,
    /// Columns of patches.
    pub w: u32,
}

impl Grid {
    /// Counts the patches.
    pub fn rows(self) -> usize {
        self.t as usize * self.h as usize * self.w as usize
    }

    /// Counts the tokens, at `merge * merge` patches each.
    pub fn tokens(self, merge: u32) -> usize {
        self.rows() / (merge * merge) as usize
    }
}

impl Patches {
    /// Length of a row.
    pub fn row_len(&self) -> usize {
        self.values.len() / self.grid.rows().max(1)
    }

    /// Writes the time of step `t` as the prompts of Qwen3-VL have it: `<1.5 seconds>`.
    pub fn timestamp_text(&self, t: usize) -> Option<String> {
        self.timestamps.get(t).map(|seconds| format!("<{seconds:.1} seconds>"))
    }
}
