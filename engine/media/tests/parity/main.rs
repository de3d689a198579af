//! The pixels, grids and frames that transformers, Pillow and pdfium make of the same
//! input. The golden files and fixtures are made by `golden/make_golden.py`.

mod decoded;
mod images;
mod pages;
mod support;
mod videos;
