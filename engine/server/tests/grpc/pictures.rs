//! Images and pages over the wire, encoded by a tiny random Qwen3-VL.

use std::path::PathBuf;

use tonic::Code;
use twn_encoder::LoadOptions;
use twn_protos::v1::{self as pb, part::Kind};

use crate::support::{TestServer, message, stream::IngestClient};

const IMAGES: usize = 200;
const PAGES: usize = 50;
/// Documents and queries under one instruction, so that the same picture is the same point.
const INSTRUCTION: &str = "Represent what is seen.";

fn seeing_model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/qwen3/vl-tied")
}

async fn server() -> TestServer {
    let server = TestServer::with(|options| {
        options.encoder = LoadOptions { context_tokens: 512, ..LoadOptions::new(seeing_model()) };
    });
    server.await
}

/// A 24-bit bitmap of 4 x 4 squares of 8 x 8 pixels, whose colours follow from the number.
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
        file.extend(colour(number, square));
    }
    file
}

fn colour(number: usize, square: usize) -> [u8; 3] {
    let mixed = ((number * 16 + square) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    [(mixed >> 40) as u8, (mixed >> 48) as u8, (mixed >> 56) as u8]
}

/// A PDF whose pages have 16 coloured squares each.
fn pdf() -> Vec<u8> {
    let kids: Vec<_> = (0..PAGES).map(|page| format!("{} 0 R", 3 + 2 * page)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {PAGES} >>", kids.join(" ")),
    ];
    for page in 0..PAGES {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 48 48] /Contents {} 0 R >>",
            4 + 2 * page
        ));
        let squares: Vec<_> = (0..16)
            .map(|square| {
                let [r, g, b] = colour(IMAGES + page, square).map(|shade| f32::from(shade) / 255.0);
                let (x, y) = (square % 4 * 12, square / 4 * 12);
                format!("{r:.3} {g:.3} {b:.3} rg {x} {y} 12 12 re f")
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

fn image(number: usize) -> Kind {
    Kind::Image(pb::Image { data: bitmap(number), uri: format!("{number}.bmp") })
}

fn page(file: &[u8], number: usize) -> Kind {
    Kind::Page(pb::Page { data: file.to_vec(), number: number as u32, uri: "book.pdf".into() })
}

fn content(kinds: impl IntoIterator<Item = Kind>) -> pb::Content {
    pb::Content { parts: kinds.into_iter().map(|kind| pb::Part { kind: Some(kind) }).collect() }
}

fn words(number: usize) -> String {
    format!("specimen {number} of drawer {}", number % 7)
}

/// Every third image has words beside it.
fn document(number: usize, file: &[u8]) -> pb::DocumentInput {
    let (id, kinds) = if number >= IMAGES {
        (format!("page{}", number - IMAGES), vec![page(file, number - IMAGES)])
    } else if number.is_multiple_of(3) {
        (format!("image{number}"), vec![image(number), Kind::Text(words(number))])
    } else {
        (format!("image{number}"), vec![image(number)])
    };
    pb::DocumentInput { id, content: Some(content(kinds)), ..Default::default() }
}

async fn ingest(server: &TestServer, file: &[u8]) {
    let start = pb::IngestStart {
        collection: "seen".into(),
        instruction: INSTRUCTION.into(),
        ..Default::default()
    };
    let mut client = IngestClient::start_with(server.ingest(), start).await.expect("starts");
    for number in 0..IMAGES + PAGES {
        client.item(number as u64, document(number, file)).await.expect("is taken");
    }
    let finished = client.finish().await.expect("ends");
    assert!(finished.errors.is_empty(), "{:?}", finished.errors);
    assert_eq!(finished.acks.len(), IMAGES + PAGES);
    for ack in &finished.acks {
        let usage = ack.usage.as_ref().expect("an acknowledgement has its usage");
        assert!(usage.vision_tokens > 0 && usage.vision_tokens < usage.prompt_tokens, "{ack:?}");
    }
}

async fn search(server: &TestServer, kinds: Vec<Kind>) -> pb::SearchResponse {
    let query = Some(pb::search_request::Query::Content(content(kinds)));
    let request = pb::SearchRequest {
        query,
        limit: 3,
        instruction: INSTRUCTION.into(),
        ..message::search("seen", "")
    };
    server.search().search(request).await.expect("is answered").into_inner()
}

/// The id of the nearest document and its score.
fn nearest(answer: &pb::SearchResponse) -> (String, f32) {
    let hit = answer.hits.first().expect("a hit");
    (hit.document.clone().expect("a document").id, hit.score)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_pages_are_found_by_text_by_image_and_by_both() {
    let server = server().await;
    server.collection("seen").await;
    let file = pdf();
    ingest(&server, &file).await;

    for number in 0..IMAGES {
        let mut kinds = vec![image(number)];
        if number % 3 == 0 {
            kinds.push(Kind::Text(words(number)));
        }
        let answer = search(&server, kinds).await;
        let (id, score) = nearest(&answer);
        assert_eq!(id, format!("image{number}"));
        assert!(score > 0.9999, "{id}: {score}");
        // 32 x 32 pixels are 4 x 4 tokens.
        assert_eq!(answer.usage.expect("usage").vision_tokens, 16);
    }
    for number in 0..PAGES {
        let (id, score) = nearest(&search(&server, vec![page(&file, number)]).await);
        assert_eq!(id, format!("page{number}"));
        assert!(score > 0.9999, "{id}: {score}");
    }
    let answer = search(&server, vec![Kind::Text(words(3))]).await;
    assert_eq!((answer.hits.len(), answer.usage.expect("usage").vision_tokens), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_references_and_faults_of_media() {
    let server = server().await;
    server.collection("seen").await;
    let file = pdf();
    let documents = [document(0, &file), document(IMAGES + 2, &file)];
    let written = server.ingest().upsert(message::upsert("seen", documents)).await;
    assert_eq!(written.expect("is written").into_inner().results.len(), 2);
    let request = pb::GetRequest {
        collection: "seen".into(),
        ids: vec!["page2".into()],
        ..Default::default()
    };
    let found = server.search().get(request).await.expect("is found").into_inner();
    let payload = found.documents[0].payload.clone().expect("a payload");
    let media = format!("{:?}", payload.fields.get("media").expect("a reference"));
    assert!(media.contains("book.pdf") && media.contains("NumberValue(3.0)"), "{media}");

    let refused = async |kinds: Vec<Kind>| {
        let query = Some(pb::search_request::Query::Content(content(kinds)));
        let request = pb::SearchRequest { query, ..message::search("seen", "") };
        let status = server.search().search(request).await.expect_err("is refused");
        (status.code(), status.message().to_owned())
    };
    let damaged = Kind::Image(pb::Image { data: bitmap(1)[..90].to_vec(), uri: String::new() });
    let (code, text) = refused(vec![Kind::Text("see".into()), damaged]).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("part 1: BMP file is damaged"), "{text}");
    let (code, text) = refused(vec![page(&file, PAGES)]).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("page 50 (from 0) does not exist"), "{text}");

    // A model without eyes says so.
    let blind = TestServer::start().await;
    blind.collection("seen").await;
    let query = Some(pb::search_request::Query::Content(content([image(1)])));
    let request = pb::SearchRequest { query, ..message::search("seen", "") };
    let status = blind.search().search(request).await.expect_err("is refused");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("an image (BMP)"), "{}", status.message());
}
