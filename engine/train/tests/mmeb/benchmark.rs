//! A small benchmark with a task in each layout.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) fn write(root: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs_err::write(path, text).expect("written");
}

pub(crate) fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

/// The animals, the right one first.
fn classes(first: &str) -> Vec<&str> {
    let rest = ["red fox", "grey owl", "green frog"].into_iter().filter(|one| *one != first);
    std::iter::once(first).chain(rest).collect()
}

/// A benchmark with a task in each layout. Which candidate is nearest is plain from the
/// words; of every task's queries, exactly one is answered wrongly.
pub(crate) fn benchmark() -> TempDir {
    let root = tempfile::tempdir().expect("temporary folder");
    let at = root.path();
    // Image, text candidates: local, in a folder of the family.
    let asked = |image: &str, first: &str| {
        json!({"qry_inst": "<|image_1|> Which animal?", "qry_text": "", "qry_img_path": image,
               "tgt_text": classes(first)})
    };
    write(
        at,
        "image-tasks/ImageNet-1K/test.jsonl",
        lines(&[
            asked("ImageNet-1K/a.png", "red fox"),
            asked("ImageNet-1K/b.png", "grey owl"),
            asked("ImageNet-1K/c.png", "green frog"),
            // The picture shows another animal than the label says.
            asked("ImageNet-1K/a.png", "green frog"),
        ]),
    );
    for (name, words) in [("a", "fox red"), ("b", "owl grey"), ("c", "frog green")] {
        write(at, &format!("ImageNet-1K/{name}.png"), words);
    }
    // Text to image: candidates are pictures, here in the task's own folder.
    let found = |text: &str, first: &str, other: &str| {
        json!({"qry_inst": "Find an image", "qry_text": text, "qry_img_path": null,
               "tgt_inst": "<|image_1|> Represent", "tgt_text": ["", ""],
               "tgt_img_path": [first, other]})
    };
    write(
        at,
        "MSCOCO_t2i/test.jsonl",
        lines(&[
            found("boats harbour", "x.png", "y.png"),
            found("dogs park", "y.png", "x.png"),
            found("dogs park", "x.png", "y.png"),
        ]),
    );
    write(at, "MSCOCO_t2i/x.png", "harbour boats");
    write(at, "MSCOCO_t2i/y.png", "park dogs");
    // Videos: frames 2 and 10 sort by number.
    for (video, words) in [("v1", "running"), ("v2", "swimming"), ("v3", "sleeping")] {
        for frame in [1, 2, 10] {
            write(at, &format!("K700/frames/{video}/frame_{frame}.jpg"), words);
        }
        write(at, &format!("K700/frames/{video}/notes.txt"), "not a frame");
    }
    write(
        at,
        "K700/videos.jsonl",
        lines(&[
            json!({"video_id": "v1", "pos_text": "running"}),
            json!({"video_id": "v2", "pos_text": "swimming"}),
            json!({"video_id": "v3", "pos_text": "swimming"}),
            json!({"video_id": "v3", "pos_text": "sleeping"}),
        ]),
    );
    write(
        at,
        "MSR-VTT/videos.jsonl",
        lines(&[
            json!({"video_id": "v1", "caption": "running"}),
            json!({"video_id": "v2", "caption": ["swimming", "swimming swimming"]}),
            json!({"video_id": "v3", "caption": "running"}),
        ]),
    );
    fs_err::create_dir_all(at.join("MSR-VTT/frames")).expect("made");
    for video in ["v1", "v2", "v3"] {
        let from = at.join("K700/frames").join(video).join("frame_1.jpg");
        let words = fs_err::read(from).expect("readable");
        write(at, &format!("MSR-VTT/frames/{video}/0.jpg"), words);
    }
    write(
        at,
        "NExTQA/videos.jsonl",
        lines(&[
            json!({"video": "v1", "question": "what does he do", "candidates": ["running", "eating"],
               "answer": "running"}),
        ]),
    );
    write(at, "NExTQA/frames/v1/0.jpg", "(A) (A) (A)");
    let clips =
        [("query", "all"), ("positive", "goal"), ("negative_0", "fans"), ("negative_1", "rain")];
    for (clip, words) in clips {
        write(at, &format!("QVHighlight/frames/match/{clip}/0.jpg"), words);
    }
    write(
        at,
        "QVHighlight/videos.jsonl",
        lines(&[
            json!({"query": "goal goal", "video_path": "videos/match.mp4"}),
            json!({"query": "rain rain", "video_path": "videos/match.mp4"}),
        ]),
    );
    // Pages: graded.
    for (page, words) in [("1", "tax report"), ("2", "tax summary"), ("p3", "bees honey")] {
        write(at, &format!("visdoc-tasks/ViDoSeek-page/{page}.png"), words);
    }
    write(
        at,
        "visdoc-tasks/ViDoSeek-page/corpus.jsonl",
        lines(&[
            json!({"corpus-id": 1, "image": "1.png"}),
            json!({"corpus-id": 2}),
            json!({"corpus-id": "p3", "image": null}),
        ]),
    );
    write(
        at,
        "visdoc-tasks/ViDoSeek-page/queries.jsonl",
        lines(&[
            json!({"query-id": 7, "query": "tax report"}),
            json!({"query-id": 8, "query": "honey"}),
            json!({"query-id": 9, "query": "nobody judged this"}),
        ]),
    );
    write(
        at,
        "visdoc-tasks/ViDoSeek-page/qrels.jsonl",
        lines(&[
            json!({"query-id": 7, "corpus-id": 2, "score": 2}),
            json!({"query-id": 7, "corpus-id": 1, "score": 1}),
            json!({"query-id": 8, "corpus-id": "p3", "score": 1}),
        ]),
    );
    // Normalised rows, with questions, which the fake's gate wants to think about.
    let row = |text: &str, label: Value, local: bool| {
        json!({"query_input": {"text": text, "image": null, "instruction": "Answer"},
               "cand_input": [{"text": "blue sky"}, {"text": "dark night", "video": "v"}],
               "dataset_infos": {"cand_names": ["sky", "night"], "label_name": label,
                                 "local": local}})
    };
    write(at, "GQA/v/1.png", "stars");
    write(
        at,
        "GQA/rows.jsonl",
        lines(&[
            row("what is blue ?", json!("sky"), true),
            row("stars", json!(["night"]), false),
            row("dark stars", json!(["sky"]), false),
        ]),
    );
    root
}
