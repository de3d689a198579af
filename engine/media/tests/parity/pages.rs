//! PDF pages against pdfium: the mean darkness of a 12 x 12 raster.

use twn_media::{Limits, Media, MediaError, MediaReader, Pdf};

use crate::support::{fixture, golden, number};

/// Renderers place glyph edges differently; this is of 255, for a cell of 63 x 38 pixels.
const CELL: f64 = 10.0;

#[test]
fn pages_look_as_pdfium_draws_them() {
    let pdf = Pdf::open(fixture("pages.pdf"), &Limits::default()).expect("opens");
    let rows = golden("pages.json");
    assert_eq!(pdf.pages(), rows.len());
    for (page, row) in rows.iter().enumerate() {
        let image = pdf.render(page as u32, 150.0).expect("renders");
        let (width, height) = (u64::from(image.width()), u64::from(image.height()));
        // pdfium rounds 450.0000001 pixels up.
        let (wide, high) = (number(row, "width"), number(row, "height"));
        assert!(width.abs_diff(wide) <= 1 && height.abs_diff(high) <= 1, "{width} x {height}");
        assert!([(750, 450), (450, 750)].contains(&(width, height)), "{width} x {height}");
        let mut cells = vec![(0.0, 0.0); 144];
        for (i, pixel) in image.rgb().chunks_exact(3).enumerate() {
            let (x, y) = (i as u64 % width, i as u64 / width);
            let cell = &mut cells[(y * 12 / height * 12 + x * 12 / width) as usize];
            let grey = 0.299 * f64::from(pixel[0])
                + 0.587 * f64::from(pixel[1])
                + 0.114 * f64::from(pixel[2]);
            *cell = (cell.0 + grey, cell.1 + 1.0);
        }
        let want = row["cells"].as_array().expect("cells");
        for (i, ((sum, count), want)) in cells.iter().zip(want).enumerate() {
            let (got, want) = (sum / count, want.as_f64().expect("grey"));
            assert!((got - want).abs() <= CELL, "page {page}, cell {i}: {got:.1}, not {want}");
        }
    }
}

#[test]
fn pages_that_do_not_exist_are_refused() {
    let reader = MediaReader::default();
    let read = |page| reader.read(&Media::page(fixture("pages.pdf"), page));
    assert_eq!(read(2).expect("exists").grid.t, 1);
    let error = read(3).expect_err("has three pages");
    assert!(matches!(error, MediaError::NoSuchPage { page: 3, pages: 3 }));
}
