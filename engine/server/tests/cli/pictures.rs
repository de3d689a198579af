//! Folders of images and PDF files become documents.

use std::path::Path;

use serde_json::json;

use crate::support::Home;

#[test]
fn a_folder_of_images_and_pdfs_is_one_document_a_picture_and_one_a_page() {
    let home = Home::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/tests/fixtures");
    for (name, from) in [
        ("album/a.png", "rgb.png"),
        ("album/deep/b.jpg", "turned6.jpg"),
        ("album/c.pdf", "pages.pdf"),
        ("album/d.png", "pages.pdf"),
    ] {
        home.write(name, fs_err::read(fixtures.join(from)).expect("a fixture"));
    }
    let folder = home.path("album");
    let folder = folder.to_str().expect("UTF-8");
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/qwen3/vl-tied");
    let server = home.serve_model(&model, "127.0.0.1:0");

    let ingest = ["ingest", folder, "--collection", "album", "--dpi", "36"];
    let ran = server.client(&home, &ingest);
    let summary = ran.json();
    assert_eq!(summary["inserted"], 5, "{ran:#?}");
    // A PDF by the name of an image is told by its bytes.
    assert_eq!(summary["failed"], 1, "{ran:#?}");
    assert!(summary["vision_tokens"].as_u64().expect("a count") > 0, "{summary}");

    let ids = ["a.png", "deep/b.jpg", "c.pdf#page=1", "c.pdf#page=3"];
    let get = [&["get"], ids.as_slice(), &["--collection", "album"]].concat();
    let documents = server.client(&home, &get).ok().json()["documents"].clone();
    assert_eq!(documents.as_array().map(Vec::len), Some(4), "{documents}");
    let image = json!({"path": "a.png", "media": [{"kind": "image", "uri": "a.png"}]});
    assert_eq!(documents[0]["payload"], image);
    let page = json!({
        "path": "c.pdf", "page": 3, "pages": 3,
        "media": [{"kind": "page", "uri": "c.pdf", "page": 3}],
    });
    assert_eq!(documents[3]["payload"], page);
    let filter = ["search", "words", "--collection", "album", "--filter", "page=2"];
    let found = server.client(&home, &filter).ok().json();
    assert_eq!(found["hits"][0]["id"], "c.pdf#page=2");
    // The default instructions of documents and queries differ; these do not.
    let ask = ["--instruction", "What is seen?"];
    let same = ["ingest", folder, "--collection", "same", "--format", "media"];
    server.client(&home, &[same.as_slice(), &ask].concat()).failed(1, "d.png");
    let image = format!("{folder}/deep/b.jpg");
    let search = ["search", "--image", &image, "--collection", "same", "--limit", "1"];
    let found = server.client(&home, &[search.as_slice(), &ask].concat()).ok().json();
    assert_eq!(found["hits"][0]["id"], "deep/b.jpg", "{found}");
    server.client(&home, &["search", "--collection", "same"]).failed(2, "required");
    assert_eq!(server.stop(), 0);
}
