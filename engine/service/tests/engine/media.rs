//! Images, videos and pages all the way through, over the deterministic embedder.

use std::{path::Path, sync::Arc};

use serde_json::json;
use tempfile::TempDir;
use twn_encoder::FakeOptions;
use twn_service::{
    Content, DocumentInput, Engine, Limits, Media, MediaKind, Part, Query, SearchRequest,
    ServiceError,
};

use crate::support::{engine_with, search, search_request, upsert};

const IMAGES: usize = 200;
const PAGES: usize = 50;

fn engine(data: &Path) -> Arc<Engine> {
    let fake = FakeOptions { reads_media: true, dimension: 128, ..FakeOptions::default() };
    engine_with(data, fake, Limits::default())
}

/// A 24-bit bitmap of 4 x 4 squares, each of 8 x 8 pixels, whose shades spell the number.
fn bitmap(number: usize) -> Vec<u8> {
    const SIDE: usize = 32;
    let mut file = b"BM".to_vec();
    for word in [(54 + SIDE * SIDE * 3) as u32, 0, 54, 40, SIDE as u32, SIDE as u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    file.extend([0; 24]);
    for pixel in 0..SIDE * SIDE {
        let square = pixel / SIDE / 8 * 4 + pixel % SIDE / 8;
        let shade = |step: usize| ((number * step + square * square * 37 + 11) * 53 % 256) as u8;
        file.extend([shade(3), shade(7), shade(13)]);
    }
    file
}

/// A PDF of pages of squares, no two pages alike.
fn pdf() -> Vec<u8> {
    let kids: Vec<_> = (0..PAGES).map(|page| format!("{} 0 R", 3 + 2 * page)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {PAGES} >>", kids.join(" ")),
    ];
    for page in 0..PAGES {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 160 160] /Contents {} 0 R >>",
            4 + 2 * page
        ));
        let squares: Vec<_> = (0..16)
            .map(|square| {
                let place = page / 10 * square + square * square * 3;
                let shade = |step: usize| (page * step + place) % 10;
                let (x, y) = (square % 4 * 40, square / 4 * 40);
                format!("0.{} 0.{} 0.{} rg {x} {y} 40 40 re f", shade(1), shade(3), shade(7))
            })
            .collect();
        let content = squares.join("\n");
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    let mut text = "%PDF-1.4\n".to_owned();
    for (i, object) in objects.iter().enumerate() {
        text += &format!("{} 0 obj\n{object}\nendobj\n", i + 1);
    }
    (text + "trailer << /Root 1 0 R >>\n").into_bytes()
}

fn document(id: String, parts: Vec<Part>) -> DocumentInput {
    DocumentInput { id, content: Content { parts }, ..DocumentInput::default() }
}

async fn nearest(engine: &Arc<Engine>, parts: Vec<Part>) -> (String, u32) {
    let query = Query::Content(Content { parts });
    let answer = search(engine, SearchRequest { query, limit: 1, ..search_request("") }).await;
    let answer = answer.expect("search");
    (answer.hits[0].document.id.clone(), answer.usage.vision_tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ingested_is_its_own_nearest_neighbour() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let file = pdf();
    let image = |number| Part::Media(Media::image(bitmap(number)));
    let page = |number: usize| Part::Media(Media::page(file.clone(), number as u32));
    let images = (0..IMAGES).map(|number| {
        let words = format!("specimen{number} drawer{}", number % 7);
        document(format!("image{number}"), vec![image(number), Part::Text(words)])
    });
    let pages = (0..PAGES).map(|number| document(format!("page{number}"), vec![page(number)]));
    for chunk in images.chain(pages).collect::<Vec<_>>().chunks(100) {
        let written = upsert(&engine, chunk.to_vec()).await;
        assert!(written.iter().all(|written| written.usage.vision_tokens > 0));
    }
    for number in (0..IMAGES).step_by(20) {
        let words = Part::Text(format!("specimen{number} drawer{}", number % 7));
        let (id, seen) = nearest(&engine, vec![image(number), words.clone()]).await;
        assert_eq!((id, seen), (format!("image{number}"), 16), "by image and text");
        let (id, _) = nearest(&engine, vec![image(number)]).await;
        assert_eq!(id, format!("image{number}"), "by image");
    }
    for number in 0..PAGES {
        let (id, _) = nearest(&engine, vec![page(number)]).await;
        assert_eq!(id, format!("page{number}"), "by page");
    }
    let (_, seen) = nearest(&engine, vec![Part::Text("drawer3".into())]).await;
    assert_eq!(seen, 0, "text has no vision tokens");
}

#[tokio::test]
async fn media_references_are_kept_in_the_payload() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let named = |media: Media, uri: &str| Part::Media(Media { uri: uri.into(), ..media });
    let mut own = document("own".into(), vec![named(Media::image(bitmap(1)), "a.bmp")]);
    own.payload.insert("media".into(), json!("mine"));
    let parts =
        vec![named(Media::image(bitmap(1)), "a.bmp"), named(Media::page(pdf(), 2), "b.pdf")];
    upsert(&engine, vec![document("both".into(), parts), own]).await;
    let (call, _guard) = crate::support::call();
    let found = engine.get("docs", vec!["both".into(), "own".into()], &call).await.expect("get");
    let payload = |i: usize| found.documents[i].payload["media"].clone();
    let want = json!([
        {"kind": "image", "uri": "a.bmp"},
        {"kind": "page", "uri": "b.pdf", "page": 3},
    ]);
    assert_eq!((payload(0), payload(1)), (want, json!("mine")));
}

#[tokio::test]
async fn faults_of_media_are_the_callers_and_name_the_part() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    upsert(&engine, vec![document("a".into(), vec![Part::Text("text".into())])]).await;
    let fault = async |media: Media| {
        let parts = vec![Part::Text("see".into()), Part::Media(media)];
        let query = Query::Content(Content { parts });
        search(&engine, SearchRequest { query, ..search_request("") }).await.expect_err("bad")
    };
    let cases = [
        (Media::image(Vec::new()), "part 1: file is empty"),
        (Media::image(b"text".to_vec()), "part 1: unknown format is not among the formats read"),
        (Media::page(pdf(), 50), "part 1: page 50 (from 0) does not exist: the document has 50"),
        (Media { kind: MediaKind::Image, ..Media::page(pdf(), 0) }, "part 1: PDF is not among"),
        (Media::frames(Vec::new(), 2.0), "part 1: file is empty"),
        (Media::image(bitmap(1)[..90].to_vec()), "part 1: BMP file is damaged"),
    ];
    for (media, want) in cases {
        let error = fault(media).await;
        assert!(matches!(error, ServiceError::InvalidArgument { .. }), "{error}");
        assert!(error.to_string().contains(want), "{error}");
    }
}
