//! What the phases of both ways share: addresses, widths, and the products of a linear.

use super::{
    FactorLayout,
    factors::{FactorPlace, Linear},
    product::{Product, Right, Term},
};
use crate::{DecoderShape, buffer::Shared, team::Member};

/// The fewest rows of a task of the phases that go row by row.
const TASK_ROWS: usize = 16;

/// A matrix of rows that threads share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    start: Shared<f32>,
    /// From one row to the next.
    step: usize,
    /// Columns of a row.
    width: usize,
}

impl Rows {
    /// Shares `values`, rows of `width`.
    pub(super) fn of(values: &mut [f32], width: usize) -> Self {
        Self { start: Shared::of(values), step: width, width }
    }

    /// Shares values that are only read.
    pub(super) fn read(values: &[f32], width: usize) -> Self {
        Self { start: Shared::new(values.as_ptr().cast_mut()), step: width, width }
    }

    /// Some of the columns.
    pub(super) fn columns(self, first: usize, width: usize) -> Self {
        assert!(first + width <= self.width, "columns lie within the rows");
        // SAFETY: within the first row.
        Self { start: Shared::new(unsafe { self.start.at(first) }), width, ..self }
    }

    pub(super) fn width(self) -> usize {
        self.width
    }

    pub(super) fn address(self) -> Shared<f32> {
        self.start
    }

    /// Some rows, to read.
    ///
    /// # Safety
    /// The rows are there and whole, and nobody writes them meanwhile.
    pub(super) unsafe fn slice<'a>(self, rows: std::ops::Range<usize>) -> &'a [f32] {
        // SAFETY: the caller's promise.
        unsafe {
            let start = self.start.at(rows.start * self.step);
            std::slice::from_raw_parts(start, rows.len() * self.width)
        }
    }

    /// Some rows, to write.
    ///
    /// # Safety
    /// The rows are there and whole, and nobody else reads or writes them meanwhile.
    #[allow(clippy::mut_from_ref, reason = "rows are shared out among threads by number")]
    pub(super) unsafe fn slice_mut<'a>(self, rows: std::ops::Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe {
            let start = self.start.at(rows.start * self.step);
            std::slice::from_raw_parts_mut(start, rows.len() * self.width)
        }
    }

    /// These rows as the left of a product with `right`.
    pub(super) fn times<'a>(self, right: Right<'a>) -> Term<'a> {
        Term {
            // SAFETY: the first value.
            left: unsafe { self.start.at(0) },
            left_row: self.step,
            left_step: 1,
            depth: self.width,
            right,
        }
    }

    /// The transpose of these rows, `count` of them, as the left of a product with other rows.
    pub(super) fn transposed_times(self, count: usize, right: Self) -> Term<'static> {
        Term {
            // SAFETY: the first value.
            left: unsafe { self.start.at(0) },
            left_row: 1,
            left_step: self.step,
            depth: count,
            right: right.as_right(),
        }
    }

    /// These rows as the right of a product.
    pub(super) fn as_right(self) -> Right<'static> {
        // SAFETY: the first value.
        Right::Rows { start: unsafe { self.start.at(0) }, step: self.step }
    }

    /// The transpose of these rows as the right of a product.
    pub(super) fn as_right_transposed(self) -> Right<'static> {
        // SAFETY: the first value.
        Right::Columns { start: unsafe { self.start.at(0) }, step: self.step }
    }

    /// A product of `count` rows into these.
    pub(super) fn product<'a>(self, count: usize, terms: Vec<Term<'a>>) -> Product<'a> {
        Product {
            rows: count,
            columns: self.width,
            terms,
            scale: 1.0,
            start: None,
            out: self.start,
            out_row: self.step,
            out_column: 1,
        }
    }

    /// A product of `count` rows added to `start` into these.
    pub(super) fn sum<'a>(self, count: usize, start: Self, terms: Vec<Term<'a>>) -> Product<'a> {
        assert!(start.step == self.step, "sums are laid out as what they are added to");
        // SAFETY: the first value.
        let start = Some(unsafe { start.start.at(0) }.cast_const());
        Product { start, ..self.product(count, terms) }
    }
}

/// One layer's low-rank additions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Additions<'a> {
    pub(super) layout: &'a FactorLayout,
    pub(super) factors: &'a [f32],
    pub(super) layer: usize,
    /// Low-rank values, `[T, width]`.
    pub(super) low: Rows,
    /// Rows there are.
    pub(super) count: usize,
}

impl Additions<'_> {
    fn place(&self, linear: Linear) -> Option<FactorPlace> {
        self.layout.place(self.layer, linear)
    }

    fn low(&self, place: FactorPlace) -> Rows {
        self.low.columns(place.column, place.rank)
    }

    fn a(&self, place: FactorPlace, inputs: usize) -> Rows {
        Rows::read(&self.factors[place.a..][..place.rank * inputs], inputs)
    }

    fn b(&self, place: FactorPlace, outputs: usize) -> Rows {
        Rows::read(&self.factors[place.b..][..place.rank * outputs], place.rank)
    }

    /// The low-rank values of some linears' inputs: `scale * input * Aᵀ`.
    pub(super) fn down(&self, linears: &[Linear], input: Rows) -> Vec<Product<'static>> {
        let product = |&linear: &Linear| {
            let place = self.place(linear)?;
            let right = self.a(place, input.width()).as_right_transposed();
            let product = self.low(place).product(self.count, vec![input.times(right)]);
            Some(Product { scale: place.scale, ..product })
        };
        linears.iter().filter_map(product).collect()
    }

    /// What a linear's output has added: the low-rank values times `Bᵀ`.
    pub(super) fn up(&self, linear: Linear, outputs: usize) -> Option<Term<'static>> {
        let place = self.place(linear)?;
        Some(self.low(place).times(self.b(place, outputs).as_right_transposed()))
    }

    /// Slopes of `input * Aᵀ` from those of the output, where low-rank values' slopes go:
    /// `scale * slopes * B`.
    pub(super) fn back_up(&self, linear: Linear, slopes: Rows) -> Option<Product<'static>> {
        let place = self.place(linear)?;
        let right = self.b(place, slopes.width()).as_right();
        let product = self.low(place).product(self.count, vec![slopes.times(right)]);
        Some(Product { scale: place.scale, ..product })
    }

    /// What the input's slopes have added: the low-rank values' slopes times `A`.
    pub(super) fn back_down(&self, linear: Linear, inputs: usize) -> Option<Term<'static>> {
        let place = self.place(linear)?;
        Some(self.low(place).times(self.a(place, inputs).as_right()))
    }

    /// Slopes of `A` from low-rank values' slopes (`self`) and the input.
    pub(super) fn slope_of_a(
        &self,
        linear: Linear,
        input: Rows,
        into: Shared<f32>,
    ) -> Option<Product<'static>> {
        let place = self.place(linear)?;
        let terms = vec![self.low(place).transposed_times(self.count, input)];
        // SAFETY: the layout's places lie within the slopes.
        let out = Shared::new(unsafe { into.at(place.a) });
        let out = Rows { start: out, step: input.width(), width: input.width() };
        Some(out.product(place.rank, terms))
    }

    /// Slopes of `B` from low-rank values (`self`) and the output's slopes.
    pub(super) fn slope_of_b(
        &self,
        linear: Linear,
        slopes: Rows,
        into: Shared<f32>,
    ) -> Option<Product<'static>> {
        let place = self.place(linear)?;
        let terms = vec![self.low(place).transposed_times(self.count, slopes)];
        Some(Product {
            rows: place.rank,
            columns: slopes.width(),
            terms,
            scale: 1.0,
            start: None,
            // SAFETY: the layout's places lie within the slopes.
            out: Shared::new(unsafe { into.at(place.b) }),
            out_row: 1,
            out_column: place.rank,
        })
    }
}

/// Shares `count` rows out in tasks and waits until all are done.
pub(super) fn by_rows(
    member: &Member<'_>,
    count: usize,
    mut work: impl FnMut(std::ops::Range<usize>),
) {
    member.share(count, TASK_ROWS, |start, end| work(start..end));
}

/// Shares `total` units out one by one and waits until all are done.
pub(super) fn by_units(member: &Member<'_>, total: usize, mut work: impl FnMut(usize)) {
    member.share(total, 1, |start, end| (start..end).for_each(&mut work));
}

/// Widths of queries, of keys, and of both with the values.
pub(super) fn widths(shape: &DecoderShape) -> [usize; 3] {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    [queries, keys, queries + 2 * keys]
}
