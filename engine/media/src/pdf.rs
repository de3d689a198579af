//! PDF documents: pages rendered to images, in Rust alone.

use std::sync::Arc;

use hayro::{
    PixmapSettings, RenderCache, RenderSettings,
    hayro_interpret::InterpreterSettings,
    hayro_syntax::{DecryptionError, LoadPdfError, Pdf as Document},
    vello_cpu::{Pixmap, color::palette::css::WHITE},
};

use crate::{
    error::MediaError,
    format::Format,
    guard,
    image::{Image, check_size},
    limits::Limits,
};

/// Units of a page in an inch.
const POINTS_PER_INCH: f32 = 72.0;

/// An open document.
#[derive(Clone)]
pub struct Pdf {
    document: Arc<Document>,
    limits: Limits,
}

impl Pdf {
    /// Opens a document.
    ///
    /// # Errors
    /// Refuses other formats, documents locked by a password, damaged ones, and what
    /// exceeds `limits`.
    pub fn open(bytes: impl Into<Vec<u8>>, limits: &Limits) -> Result<Self, MediaError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(MediaError::Empty);
        }
        let max = limits.pdf_bytes_max as u64;
        MediaError::check_limit("size of the PDF in bytes", bytes.len() as u64, max)?;
        let format = Format::of(&bytes);
        if format != Format::Pdf {
            return Err(MediaError::Format { format, kind: "a document", readable: "PDF" });
        }
        let open = move || Document::new(bytes).map_err(explain);
        let document = guard::within("opening the PDF", Format::Pdf, limits.pdf_time_max, open)?;
        let pdf = Self { document: Arc::new(document), limits: limits.clone() };
        match pdf.pages() {
            0 => Err(damaged("it has no pages")),
            pages => {
                MediaError::check_limit(
                    "number of pages",
                    pages as u64,
                    limits.pdf_pages_max as u64,
                )?;
                Ok(pdf)
            }
        }
    }

    /// Counts the pages.
    pub fn pages(&self) -> usize {
        self.document.pages().len()
    }

    /// Renders a page, counted from 0, on white at `dpi` dots per inch.
    ///
    /// Fonts that are not embedded are replaced by built-in ones for Latin scripts. What
    /// cannot be drawn is left out, as viewers do.
    ///
    /// # Errors
    /// Refuses a page that does not exist, one that would be too large or takes too long,
    /// and a resolution that is not a positive number.
    pub fn render(&self, page: u32, dpi: f32) -> Result<Image, MediaError> {
        let pages = self.pages();
        if page as usize >= pages {
            return Err(MediaError::NoSuchPage { page, pages });
        }
        if !(dpi.is_finite() && dpi > 0.0) {
            return Err(MediaError::Unsupported {
                format: Format::Pdf,
                what: format!("a resolution of {dpi} dots per inch"),
                advice: "give a positive number",
            });
        }
        let document = self.document.clone();
        let limits = self.limits.clone();
        let draw = move || draw(&document, page as usize, dpi, &limits);
        guard::within("rendering the page", Format::Pdf, self.limits.pdf_time_max, draw)
    }
}

/// Tells the number of pages.
impl std::fmt::Debug for Pdf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pdf({} pages)", self.pages())
    }
}

fn draw(document: &Document, page: usize, dpi: f32, limits: &Limits) -> Result<Image, MediaError> {
    let page = &document.pages()[page];
    let (width, height) = page.render_dimensions();
    let size = (pixels(width, dpi), pixels(height, dpi));
    check_size(size, limits)?;
    let side = u64::from(size.0.max(size.1));
    MediaError::check_limit("longer side of the page in pixels", side, u16::MAX.into())?;
    let pixmap = hayro::render(
        page,
        &RenderCache::new(),
        &InterpreterSettings::default(),
        &RenderSettings::default(),
        &PixmapSettings {
            x_scale: scale(size.0, width),
            y_scale: scale(size.1, height),
            bg_color: WHITE,
        },
    );
    image_of(&pixmap)
}

/// Rounds a side in points up to pixels, so that the last row is never lost; what is over a
/// whole pixel by a rounding error does not count. Saturates, so nothing overflows.
fn pixels(points: f32, dpi: f32) -> u32 {
    let exact = f64::from(points) * f64::from(dpi) / f64::from(POINTS_PER_INCH);
    (exact - 1e-3).ceil().max(1.0) as u32
}

/// The scale at which the renderer, which rounds down, comes to so many pixels.
fn scale(pixels: u32, points: f32) -> f32 {
    (f64::from(pixels) / f64::from(points) * (1.0 + 1e-6)) as f32
}

/// Drops the alpha of an opaque picture.
fn image_of(pixmap: &Pixmap) -> Result<Image, MediaError> {
    let pixels = pixmap.data_as_u8_slice().chunks_exact(4);
    let rgb = pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Image::new(pixmap.width().into(), pixmap.height().into(), rgb)
}

fn explain(error: LoadPdfError) -> MediaError {
    match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => MediaError::Unsupported {
            format: Format::Pdf,
            what: "a password".to_owned(),
            advice: "remove it first",
        },
        LoadPdfError::Decryption(_) => MediaError::Unsupported {
            format: Format::Pdf,
            what: "this kind of encryption".to_owned(),
            advice: "save it without encryption first",
        },
        LoadPdfError::Invalid => damaged("its structure cannot be read"),
    }
}

fn damaged(problem: &str) -> MediaError {
    MediaError::Damaged { format: Format::Pdf, problem: problem.to_owned() }
}
