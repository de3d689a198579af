//! PDF files.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use twn_media::{Limits, MediaError, Pdf};

use crate::{fixture, mutated, runner};

fn limits() -> Limits {
    Limits { image_pixels_max: 1 << 20, pdf_time_max: Duration::from_secs(10), ..Limits::default() }
}

#[test]
fn mutated_documents_never_panic() {
    let bytes = fixture("pages.pdf");
    let strategy = (any::<usize>(), any::<[u8; 4]>(), any::<usize>(), any::<bool>());
    runner(400)
        .run(&strategy, |mutation| {
            if let Ok(pdf) = Pdf::open(mutated(&bytes, mutation), &limits()) {
                for page in 0..pdf.pages().min(3) {
                    let _ = pdf.render(page as u32, 36.0);
                }
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn other_files_are_refused() {
    let open = |bytes: &[u8]| Pdf::open(bytes, &limits()).map(drop);
    assert!(matches!(open(b""), Err(MediaError::Empty)));
    assert!(matches!(open(&fixture("rgb.png")), Err(MediaError::Format { .. })));
    assert!(open(b"%PDF-1.7").is_err());
    assert!(open(b"%PDF-1.7\n1 0 obj << /Type /Catalog /Pages 1 0 R >> endobj").is_err());
}

#[test]
fn limits_hold() {
    let bytes = fixture("pages.pdf");
    let small = Limits { pdf_bytes_max: 100, ..limits() };
    assert!(matches!(Pdf::open(bytes.as_slice(), &small), Err(MediaError::Limit { .. })));
    let few = Limits { pdf_pages_max: 2, ..limits() };
    let error = Pdf::open(bytes.as_slice(), &few).expect_err("has three pages");
    assert_eq!(error.to_string(), "number of pages is 3, at most 2 is accepted");

    let pdf = Pdf::open(bytes, &limits()).expect("opens");
    for dpi in [1e9, 1e30, 600.0] {
        assert!(matches!(pdf.render(0, dpi), Err(MediaError::Limit { .. })), "{dpi}");
    }
    for dpi in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(pdf.render(0, dpi), Err(MediaError::Unsupported { .. })), "{dpi}");
    }
    assert_eq!(pdf.render(0, 0.001).expect("renders").size().pixels(), 1);
}

#[test]
fn pages_that_take_too_long_are_given_up() {
    // A page that draws a form that draws a form, ten times each, nine levels deep.
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R \
         /Resources << /XObject << /F 5 0 R >> >> >>"
            .to_owned(),
        stream("", &"/F Do ".repeat(10)),
    ];
    for level in 5..14 {
        let entries = format!(
            "/Type /XObject /Subtype /Form /BBox [0 0 200 200] \
             /Resources << /XObject << /F {} 0 R >> >>",
            level + 1
        );
        objects.push(stream(&entries, &"/F Do ".repeat(10)));
    }
    objects.push(stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 200 200]",
        "0 0 150 150 re f 10 10 m 50 90 80 10 100 100 c S",
    ));
    let mut text = "%PDF-1.4\n".to_owned();
    for (i, object) in objects.iter().enumerate() {
        text += &format!("{} 0 obj\n{object}\nendobj\n", i + 1);
    }
    text += "trailer << /Root 1 0 R >>\n";
    let limits = Limits { pdf_time_max: Duration::from_millis(300), ..limits() };
    let pdf = Pdf::open(text.as_bytes(), &limits).expect("opens");
    let start = Instant::now();
    let error = pdf.render(0, 72.0).expect_err("draws a thousand million forms");
    assert!(matches!(error, MediaError::Time { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60), "was not given up");
}

fn stream(entries: &str, content: &str) -> String {
    format!("<< {entries} /Length {} >>\nstream\n{content}\nendstream", content.len())
}
