//! Single kernels over memory of their own, for the benchmarks alone.

use half::f16;

use crate::{
    Isa,
    activations::{Activations, Form, Integers, TILE},
    attention::{ATTENTION_ROWS, AttentionTile},
    buffer::Buffer,
    kernels::Kernels,
    kv::PAGE,
    matrix::GROUP,
};

/// Activations as thoughts have them.
const FORM: Form = Form::Quantised(Integers::Sixteen);

/// Memory that the kernels of one instruction set run on.
#[derive(Debug)]
pub struct Bench {
    kernels: &'static Kernels,
    columns: usize,
    head_width: usize,
    row: Buffer<f32>,
    scales: Buffer<f32>,
    out: Buffer<f32>,
    activations: Activations,
    queries: Buffer<f32>,
    attended: Buffer<f32>,
    pages: Vec<Buffer<f16>>,
}

impl Bench {
    /// Makes rows of `columns`, and keys and values of one head, `head_width` wide and
    /// rounded up to 16, at `positions` positions.
    ///
    /// # Panics
    /// Panics when this machine does not have the instruction set.
    pub fn new(isa: Isa, columns: usize, head_width: usize, positions: usize) -> Self {
        let head_width = head_width.max(1).next_multiple_of(GROUP);
        let columns = columns.max(1).next_multiple_of(GROUP);
        let fill = |len: usize| {
            let mut values = Buffer::zeros(len);
            for (i, value) in values.iter_mut().enumerate() {
                *value = (i as f32 * 0.7).sin();
            }
            values
        };
        let page = || {
            let mut page = Buffer::zeros(2 * PAGE * head_width);
            for (i, value) in page.iter_mut().enumerate() {
                *value = f16::from_f32((i as f32 * 0.3).cos());
            }
            page
        };
        let mut activations = Activations::default();
        activations.ensure(TILE, columns, FORM);
        Self {
            kernels: Kernels::of(isa),
            columns,
            head_width,
            row: fill(TILE * columns),
            scales: fill(columns),
            out: Buffer::zeros(columns),
            activations,
            queries: fill(ATTENTION_ROWS * head_width),
            attended: Buffer::zeros(ATTENTION_ROWS * head_width),
            pages: (0..positions.max(1).div_ceil(PAGE)).map(|_| page()).collect(),
        }
    }

    /// Normalises a row; returns a value of it.
    pub fn normalise(&mut self) -> f32 {
        let (row, scales) = (self.row.as_ptr(), self.scales.as_ptr());
        // SAFETY: all three are `columns` long; `Kernels::of` has checked the instructions.
        unsafe {
            (self.kernels.normalise)(row, scales, self.columns, 1e-5, self.out.as_mut_ptr());
        }
        self.out[0]
    }

    /// Quantises up to 8 rows.
    pub fn quantise(&mut self, rows: usize) {
        let input = self.activations.layout(rows.clamp(1, TILE), self.columns, FORM);
        // SAFETY: the layout has tile 0, `columns` wide, and there are as many rows.
        unsafe { self.kernels.lay(self.row.as_ptr(), self.columns, &input, 0) };
    }

    /// Gates a row; returns a value of it.
    pub fn gate(&mut self) -> f32 {
        for at in (0..self.columns).step_by(GROUP) {
            // SAFETY: the columns are whole groups.
            unsafe {
                let (gates, values) = (self.row.as_ptr().add(at), self.scales.as_ptr().add(at));
                (self.kernels.gate)(gates, values, self.out.as_mut_ptr().add(at));
            }
        }
        self.out[0]
    }

    /// Puts a key and a value into a page.
    pub fn place(&mut self) {
        let (key, value) = self.queries[..2 * self.head_width].split_at(self.head_width);
        let keys = self.pages[0].as_mut_ptr();
        // SAFETY: a page holds keys and values of one head, and slot 3 is below 32.
        unsafe { (self.kernels.place_half)(key, value.as_ptr(), keys, self.head_width, 3) };
    }

    /// Attends from the last position with up to 6 rows; returns a value.
    pub fn attend(&mut self, rows: usize) -> f32 {
        let pages: Vec<*mut u8> = self.pages.iter().map(|page| page.address().cast()).collect();
        let tile = AttentionTile {
            queries: self.queries.as_ptr(),
            rows: rows.clamp(1, ATTENTION_ROWS),
            visible: [pages.len() * PAGE; ATTENTION_ROWS],
            pages: &pages,
            head_start: 0,
            head_width: self.head_width,
            out: self.attended.as_mut_ptr(),
            next: std::ptr::null(),
        };
        // SAFETY: queries and outputs hold 6 rows, the pages all visible positions.
        unsafe { (self.kernels.attend_half)(&tile) };
        self.attended[0]
    }
}
