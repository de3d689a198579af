//! Images and PDF files: one document an image, one document a page.
//!
//! Pages are rendered here rather than by the server: a PDF would else travel once for each
//! of its pages.

use std::{io::Read, ops::ControlFlow, path::Path};

use serde_json::{Map, Value};
use twn_media::{Limits, Pdf};
use twn_protos::v1 as pb;

use super::record::Draft;

const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];
const DOCUMENT: &str = "pdf";

/// Tells whether a file is an image or a PDF, by its ending.
pub(crate) fn is_media(path: &Path) -> bool {
    ending(path).is_some_and(|ending| ending == DOCUMENT || PICTURES.contains(&ending.as_str()))
}

fn ending(path: &Path) -> Option<String> {
    path.extension()?.to_str().map(str::to_ascii_lowercase)
}

/// Reads a file and emits its documents, or why one is none. An image has the id given, a
/// page `#page=1` and so on behind it, counted from 1 as links into PDF files do. The
/// payload has the `path`, and of a page also its number and that of all `pages`.
pub(crate) fn read(
    path: &Path,
    id: &str,
    dpi: f32,
    emit: &mut dyn FnMut(Result<Draft, String>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let limits = Limits::default();
    if ending(path).as_deref() == Some(DOCUMENT) {
        let pdf = bytes(path, limits.pdf_bytes_max)
            .and_then(|bytes| Pdf::open(bytes, &limits).map_err(|error| error.to_string()));
        match pdf {
            Ok(pdf) => (0..pdf.pages()).try_for_each(|number| emit(page(&pdf, number, id, dpi))),
            Err(problem) => emit(Err(problem)),
        }
    } else {
        emit(bytes(path, limits.image_bytes_max).map(|data| picture(data, id)))
    }
}

/// Reads one image as a part of a query.
pub(crate) fn read_image(path: &Path) -> anyhow::Result<pb::Part> {
    let data = bytes(path, Limits::default().image_bytes_max).map_err(anyhow::Error::msg)?;
    let uri = path.to_string_lossy().into_owned();
    Ok(pb::Part { kind: Some(pb::part::Kind::Image(pb::Image { data, uri })) })
}

fn picture(data: Vec<u8>, id: &str) -> Draft {
    let kind = pb::part::Kind::Image(pb::Image { data, uri: id.to_owned() });
    let payload = Map::from_iter([("path".to_owned(), Value::from(id))]);
    draft(id.to_owned(), kind, payload)
}

fn page(pdf: &Pdf, number: usize, path: &str, dpi: f32) -> Result<Draft, String> {
    let id = format!("{path}#page={}", number + 1);
    let number = number as u32;
    let blame = |error: twn_media::MediaError| format!("page {}: {error}", number + 1);
    let data = pdf.render(number, dpi).and_then(|image| image.to_png()).map_err(blame)?;
    let kind = pb::part::Kind::Page(pb::Page { data, number, uri: path.to_owned() });
    let payload = Map::from_iter([
        ("path".to_owned(), Value::from(path)),
        ("page".to_owned(), Value::from(number + 1)),
        ("pages".to_owned(), Value::from(pdf.pages())),
    ]);
    Ok(draft(id, kind, payload))
}

fn draft(id: String, kind: pb::part::Kind, payload: Map<String, Value>) -> Draft {
    Draft { id: Some(id), media: vec![pb::Part { kind: Some(kind) }], payload, ..Draft::default() }
}

/// Reads a file of at most so many bytes.
fn bytes(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > max {
        return Err(format!("the file has more than {max} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/tests/fixtures");
        folder.join(name)
    }

    fn drafts(name: &str) -> Vec<Result<Draft, String>> {
        let mut drafts = Vec::new();
        let _ = read(&fixture(name), name, 36.0, &mut |draft| {
            drafts.push(draft);
            ControlFlow::Continue(())
        });
        drafts
    }

    #[test]
    fn every_page_is_a_document() {
        let drafts: Vec<Draft> = drafts("pages.pdf").into_iter().map(Result::unwrap).collect();
        let ids: Vec<_> = drafts.iter().map(|draft| draft.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["pages.pdf#page=1", "pages.pdf#page=2", "pages.pdf#page=3"]);
        let payload = Value::Object(drafts[1].payload.clone());
        assert_eq!(payload, serde_json::json!({"path": "pages.pdf", "page": 2, "pages": 3}));
        let Some(pb::part::Kind::Page(page)) = &drafts[1].media[0].kind else { panic!("no page") };
        assert_eq!((page.number, page.uri.as_str()), (1, "pages.pdf"));
        let image = twn_media::decode_image(&page.data, &Limits::default()).unwrap();
        assert_eq!((image.width(), image.height()), (180, 108));
    }

    #[test]
    fn images_keep_their_bytes_and_faults_are_told() {
        let draft = drafts("rgb.png").remove(0).unwrap();
        let Some(pb::part::Kind::Image(image)) = &draft.media[0].kind else { panic!("no image") };
        assert_eq!(image.data, fs_err::read(fixture("rgb.png")).unwrap());
        assert!(drafts("gone.png")[0].as_ref().unwrap_err().contains("gone.png"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.pdf");
        fs_err::write(&path, "%PDF-1.7 and nothing").unwrap();
        let mut problems = Vec::new();
        let _ = read(&path, "no.pdf", 72.0, &mut |draft| {
            problems.push(draft.unwrap_err());
            ControlFlow::Continue(())
        });
        assert_eq!(problems, ["PDF file is damaged: its structure cannot be read"]);
    }
}
