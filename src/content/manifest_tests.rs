//! Tests of the manifest: its bytes never change, its rules hold, its limits are where they are said to be.

use super::*;

fn entry(path: &str, bytes: &[u8], executable: bool) -> Entry {
    Entry { path: path.parse().unwrap(), size_bytes: bytes.len() as u64, executable, digest: Digest::of(bytes) }
}

fn manifest(paths: &[&str]) -> Result<Manifest, ManifestError> {
    Manifest::new(paths.iter().map(|path| entry(path, b"", false)).collect())
}

/// If this fails, every identity in every installation has changed: raise `FORMAT_VERSION` and keep reading the old one.
#[test]
fn golden_encoding() {
    let manifest = Manifest::new(vec![
        entry("read \"me\" é.txt", b"abc", false),
        entry("bin/setup.sh", b"#!/bin/sh\n", true),
        entry("empty", b"", false),
    ])
    .unwrap();
    let expected = concat!(
        "{\"version\":1,\"entries\":[\n",
        "{\"path\":\"bin/setup.sh\",\"bytes\":10,\"executable\":true,",
        "\"sha256\":\"a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf\"},\n",
        "{\"path\":\"empty\",\"bytes\":0,",
        "\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"},\n",
        "{\"path\":\"read \\\"me\\\" é.txt\",\"bytes\":3,",
        "\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}\n",
        "]}\n",
    );
    assert_eq!(String::from_utf8(manifest.encode().unwrap()).unwrap(), expected);
    assert_eq!(manifest.digest(), Digest::of(expected.as_bytes()));
    assert_eq!(Manifest::decode(expected.as_bytes()).unwrap(), manifest);
}

#[test]
fn empty_content_is_a_manifest() {
    let empty = Manifest::new(vec![]).unwrap();
    assert_eq!(empty.encode().unwrap(), b"{\"version\":1,\"entries\":[\n]}\n");
    assert_eq!(Manifest::decode(&empty.encode().unwrap()).unwrap(), empty);
}

#[test]
fn only_the_canonical_bytes_decode() {
    let bytes = manifest(&["a", "b"]).unwrap().encode().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let refused = |text: &str| Manifest::decode(text.as_bytes()).unwrap_err();
    assert!(matches!(refused(&text.replace("\n{", "{")), ManifestError::NotCanonical));
    assert!(matches!(refused(&format!("{text} ")), ManifestError::NotCanonical));
    assert!(matches!(
        refused(&text.replace("\"bytes\":0", "\"bytes\":0,\"executable\":false")),
        ManifestError::NotCanonical
    ));
    assert!(matches!(refused(&text.replace("\"path\":\"a\"", "\"path\":\"c\"")), ManifestError::NotCanonical));
    assert!(matches!(
        refused(&text.replace("\"version\":1", "\"version\":2,\"new\":0")),
        ManifestError::UnsupportedVersion(2)
    ));
    assert!(matches!(refused(&text.replace("\"bytes\":0", "\"bytes\":-1")), ManifestError::Syntax(_)));
    assert!(matches!(refused(&text.replace("\"bytes\":0", "\"bytes\":0,\"owner\":0")), ManifestError::Syntax(_)));
    assert!(matches!(refused(&text.replace("\"path\":\"a\"", "\"path\":\"../a\"")), ManifestError::Syntax(_)));
    assert!(matches!(refused(&text.replace("\"path\":\"a\"", "\"path\":\"b\"")), ManifestError::CaseClash(..)));
    for cut in 0..text.len() {
        assert!(Manifest::decode(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn clashes_are_refused() {
    let clash = |paths: &[&str]| match manifest(paths) {
        Err(ManifestError::CaseClash(a, b)) => Some((a, b)),
        _ => None,
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(clash(&["a", "a"]), pair("a", "a"));
    assert_eq!(clash(&["A.txt", "a.TXT"]), pair("A.txt", "a.TXT"));
    assert_eq!(clash(&["Lib/a", "lib/b"]), pair("Lib", "lib"));
    assert_eq!(clash(&["x/Lib/a", "x/lib"]), pair("x/Lib", "x/lib"));
    assert_eq!(clash(&["straße", "STRASSE"]), pair("STRASSE", "straße"));
    for paths in [&["a", "a/b"][..], &["a/b", "a", "a.c"], &["x/y/z", "x/y"]] {
        assert!(matches!(manifest(paths), Err(ManifestError::FileIsDirectory(_))), "{paths:?}");
    }
    assert!(manifest(&["a/b", "a/c", "ab", "a.b/c", "b/a"]).is_ok());
}

#[test]
fn directories_come_each_after_its_parent() {
    let content = manifest(&["a/b/c/1", "a/b/2", "a.x/3", "4", "z/5"]).unwrap();
    assert_eq!(content.directories(), ["a", "a.x", "a/b", "a/b/c", "z"]);
}

#[test]
fn limits_hold_at_the_limit_and_one_above() {
    let sized = |sizes: &[u64]| {
        let one = |(n, &size_bytes): (usize, &u64)| Entry { size_bytes, ..entry(&n.to_string(), b"", false) };
        Manifest::new(sizes.iter().enumerate().map(one).collect())
    };
    assert!(sized(&[MAX_CONTENT_BYTES - 1, 1]).is_ok());
    assert!(matches!(sized(&[MAX_CONTENT_BYTES, 1]), Err(ManifestError::TooMuchContent)));
    assert!(matches!(sized(&[u64::MAX, 2]), Err(ManifestError::TooMuchContent)));

    let numbered = |count: usize, width: usize| {
        let template = entry("x", b"", false);
        let one = |n| Entry { path: format!("{n:0width$}").parse().unwrap(), ..template.clone() };
        (0..count).map(one).collect::<Vec<_>>()
    };
    assert!(
        matches!(Manifest::new(numbered(MAX_FILES + 1, 6)), Err(ManifestError::TooManyFiles(n)) if n == MAX_FILES + 1)
    );
    // A line takes 99 bytes and its path: the longest names need the fewest lines to meet the limit.
    let lines = MAX_ENCODED_BYTES / (99 + 255);
    assert!(Manifest::new(numbered(lines - 1, 255)).is_ok());
    assert!(matches!(Manifest::new(numbered(lines + 1, 255)), Err(ManifestError::TooLarge)));
}
