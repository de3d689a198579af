//! `twn doctor`

use serde_json::Value;

use crate::support::{Home, tiny_model};

/// The status and detail of the checks of one name.
fn of(report: &Value, name: &str) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().expect("checks").iter();
    let named = checks.filter(|check| check["name"] == name);
    named
        .map(|check| (check["status"].as_str().unwrap().to_owned(), check["detail"].to_string()))
        .collect()
}

#[test]
fn a_doctor_tells_what_is_missing() {
    let home = Home::new();
    let ran = home.run(&["doctor", "--json", "--server", "http://127.0.0.1:9"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["ok"], false);
    assert_eq!(of(&report, "model")[0].0, "fail");
    for name in ["cpu", "cores", "memory", "home", "disk", "python", "port", "server", "data"] {
        assert!(!of(&report, name).is_empty(), "{name}: {report}");
    }
    assert!(report.to_string().contains("twn model pull"));
    assert!(!home.path("twn-home/data").exists(), "looking changes nothing");

    let shown = home.run(&["doctor", "--server", "http://127.0.0.1:9"]);
    assert!(shown.stdout.contains("FAIL  model"), "{shown:#?}");
}

#[test]
fn a_doctor_looks_into_the_data_folder() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    server.client(&home, &["collection", "create", "a"]).ok();
    server.client(&home, &["collection", "create", "b"]).ok();
    let (model, data) = (tiny_model(), home.path("data"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let examine = |url: &str| {
        let ran =
            home.run(&["doctor", "--json", "--model", model, "--data", data, "--server", url]);
        (ran.code, ran.json())
    };

    let url = server.url.clone();
    let (code, report) = examine(&url);
    assert_eq!(code, 0, "{report}");
    assert!(of(&report, "data")[1].1.contains("open in a running server"), "{report}");
    assert!(of(&report, "server")[0].1.contains("untrained"), "{report}");
    assert_eq!(server.stop(), 0);

    let (code, report) = examine(&url);
    assert_eq!(code, 0, "{report}");
    assert!(of(&report, "data")[1].1.contains("2 collections opened"), "{report}");

    let manifest = fs_err::read_dir(home.path("data/collections/b")).unwrap();
    for file in manifest.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs_err::write(file, b"damaged").unwrap();
    }
    let (code, report) = examine(&url);
    assert_eq!((code, report["ok"].as_bool()), (1, Some(false)), "{report}");
    assert!(
        of(&report, "data").iter().any(|(status, detail)| status == "fail" && detail.contains('b'))
    );
}
