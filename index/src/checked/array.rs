//! Arrays in checked files, read where they lie in the map.

use super::file::CheckedFile;
use arrow::{
    buffer::{Buffer, ScalarBuffer},
    datatypes::ArrowNativeType,
};
use std::{ops::Range, sync::Arc};

/// An array in a checked file, or in memory.
#[derive(Debug)]
pub(crate) struct CheckedArray<T: ArrowNativeType> {
    values: ScalarBuffer<T>,
    origin: Option<Origin>,
}

/// Where an array lies.
#[derive(Debug)]
struct Origin {
    file: Arc<CheckedFile>,
    /// The place of its first byte.
    start: usize,
}

impl<T: ArrowNativeType> CheckedArray<T> {
    /// Takes the bytes of a range for an array; `None` if they are not, or not
    /// all there.
    pub(crate) fn of_file(file: &Arc<CheckedFile>, range: Range<usize>) -> Option<Self> {
        let size = size_of::<T>();
        let is_array = range.start <= range.end
            && range.end <= file.bytes().len()
            && range.start.is_multiple_of(size)
            && range.len().is_multiple_of(size);
        let bytes = |range: Range<usize>| -> Buffer {
            file.bytes().slice_with_length(range.start, range.len())
        };
        let origin = Origin { file: Arc::clone(file), start: range.start };
        let length = range.len() / size;
        is_array.then(|| Self {
            values: ScalarBuffer::new(bytes(range), 0, length),
            origin: Some(origin),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns some of the values; `None` with the alarm raised if they are
    /// damaged or not there.
    #[inline]
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<&[T]> {
        match self.values.get(range.clone()) {
            Some(values) if self.is_sound(range) => Some(values),
            Some(_) => None,
            None => {
                self.raise("a place in it lies outside of it");
                None
            }
        }
    }

    /// Returns some of the values; none, with the alarm raised, if they are
    /// damaged or not there.
    #[inline]
    pub(crate) fn read(&self, range: Range<usize>) -> &[T] {
        self.slice(range).unwrap_or_default()
    }

    /// Returns a value; zero, with the alarm raised, if it is damaged or not
    /// there.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> T {
        self.read(place..place.saturating_add(1)).first().copied().unwrap_or_default()
    }

    /// Returns what is at some places without a check: for prefetching, and for
    /// looking through a file whose blocks have all been verified.
    #[inline]
    pub(crate) fn unchecked(&self) -> &[T] {
        &self.values
    }

    /// Returns the first place from which on `is_before` is false, if it is true
    /// before one and false after it. Reads a few values only.
    pub(crate) fn partition_point(
        &self,
        among: Range<usize>,
        is_before: impl Fn(T) -> bool,
    ) -> Option<usize> {
        let (mut first, mut end) = (among.start, among.end);
        while first < end {
            let middle = first + (end - first) / 2;
            let value = *self.slice(middle..middle + 1)?.first()?;
            if is_before(value) { first = middle + 1 } else { end = middle }
        }
        Some(first)
    }

    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.origin.as_ref().is_none_or(|origin| origin.file.is_whole())
    }

    #[inline]
    fn is_sound(&self, range: Range<usize>) -> bool {
        let size = size_of::<T>();
        self.origin.as_ref().is_none_or(|Origin { file, start }| {
            file.is_sound(start + range.start * size..start + range.end * size)
        })
    }

    #[cold]
    pub(crate) fn raise(&self, problem: &str) {
        if let Some(origin) = &self.origin {
            origin.file.raise(problem);
        }
    }
}

impl<T: ArrowNativeType> From<Vec<T>> for CheckedArray<T> {
    fn from(values: Vec<T>) -> Self {
        Self { values: values.into(), origin: None }
    }
}

/// An array of numbers that are places in another, of `limit` items.
#[derive(Debug)]
pub(crate) struct Links {
    array: CheckedArray<u32>,
    limit: usize,
}

impl Links {
    pub(crate) fn new(array: impl Into<CheckedArray<u32>>, limit: usize) -> Self {
        Self { array: array.into(), limit }
    }

    /// Returns some of the numbers, each below the limit; none, with the alarm
    /// raised, if they are damaged or not there.
    #[inline]
    pub(crate) fn read(&self, range: Range<usize>) -> &[u32] {
        let links = self.array.read(range);
        // A file that is whole has been looked through.
        if self.array.is_whole() || self.lead_inside(links) {
            return links;
        }
        self.array.raise("it leads outside of itself");
        &[]
    }

    /// Returns a number below the limit; zero, with the alarm raised, if it is
    /// damaged or not there.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> u32 {
        self.read(place..place.saturating_add(1)).first().copied().unwrap_or_default()
    }

    /// Returns the numbers without a check, for prefetching.
    #[inline]
    pub(crate) fn unchecked(&self) -> &[u32] {
        self.array.unchecked()
    }

    /// Looks through all of them once their blocks have been verified.
    pub(crate) fn are_sound(&self) -> bool {
        self.lead_inside(self.array.unchecked())
    }

    fn lead_inside(&self, links: &[u32]) -> bool {
        links.iter().all(|&link| (link as usize) < self.limit)
    }
}
