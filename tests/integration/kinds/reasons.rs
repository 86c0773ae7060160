//! The one list of reasons: every one of them is said by the product and met by a test.

use std::path::Path;

use waybill::model::reason::Reason;

/// The texts of all Rust files below, apart for the product and for its tests.
fn texts(directory: &Path, product: &mut String, tests: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, product, tests);
            continue;
        }
        if path.extension().is_none_or(|end| end != "rs") || path.ends_with("model/reason.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = path.to_string_lossy().into_owned();
        if ["/tests/", "/tests.rs", "_tests.rs"].iter().any(|part| whole.contains(part)) {
            tests.push_str(&text);
        } else {
            let (before, after) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
            product.push_str(before);
            tests.push_str(after);
        }
    }
}

/// Whether a word stands in a text, and not as the beginning of a longer one.
fn says(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| text[at + word.len()..].chars().next().is_none_or(|next| !next.is_alphanumeric() && next != '_'))
}

#[test]
fn every_reason_is_said_by_the_product_and_met_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut product, mut tests) = (String::new(), String::new());
    texts(&root.join("src"), &mut product, &mut tests);
    texts(&root.join("tests"), &mut product, &mut tests);
    for reason in Reason::ALL {
        let name = reason.as_str();
        assert!(says(&product, &format!("Reason::{name}")), "nothing says {name}: take it out");
        let met = says(&tests, &format!("Reason::{name}")) || tests.contains(&format!("\"{name}\""));
        assert!(met, "no test meets {name}");
    }
}
