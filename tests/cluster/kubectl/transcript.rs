//! Transcripts made comparable, and what two of them differ in.

use std::{path::Path, sync::LazyLock};

use regex::Regex;

/// What differs from run to run, and the word that stands for it.
static NOISE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}|Z)?", "<time>"),
        (r#"(resourceVersion"?: "?|Resource Version: +)\d+"#, "${1}<version>"),
        (r"127\.0\.0\.1:\d+", "<address>"),
        (r"(LIVE|MERGED)-\d+", "$1"),
        (r"(kubectl-edit-)\d+", "$1"),
        (r"^([IWE])\d{4} [\d:.]+ +\d+ ", "$1 "),
        (r"X509SHA256=[0-9a-f]{64}", "<certificate>"),
        (r"\b\d+m?\d*s( +|$)", "<age>$1"),
    ]
    .into_iter()
    .map(|(pattern, word)| (Regex::new(pattern).unwrap(), word))
    .collect()
});
/// The width of a column follows its longest cell, which may be an age.
static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\S) {2,}").unwrap());

/// A transcript in which only what matters is left. `home` is the directory it was made in.
pub(super) fn comparable(text: &str, home: &Path) -> String {
    let text = text.replace(&home.display().to_string(), "<home>");
    let line = |line: &str| {
        let mut line = line.trim_end().to_owned();
        for (pattern, word) in NOISE.iter() {
            line = pattern.replace_all(&line, *word).into_owned();
        }
        GAP.replace_all(&line, "$1  ").into_owned() + "\n"
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    // several faults of one object come in no fixed order
    let faults = |a: &String, b: &String| a.starts_with("* ") && b.starts_with("* ");
    let mut groups: Vec<Vec<String>> = lines.chunk_by(faults).map(<[String]>::to_vec).collect();
    groups.iter_mut().filter(|group| group.len() > 1).for_each(|group| group.sort());
    groups.concat().concat()
}

/// The lines in which two transcripts differ, each below the command that printed it; empty if they are the same.
pub(super) fn difference(expected: &str, got: &str) -> String {
    let (expected, got) = (commands(expected), commands(got));
    let mut out = String::new();
    for at in 0..expected.len().max(got.len()) {
        let (a, b) = (expected.get(at).copied().unwrap_or_default(), got.get(at).copied().unwrap_or_default());
        if a != b {
            let only = |lines: &str, others: &str, sign: char| -> String {
                let others: Vec<&str> = others.lines().collect();
                lines.lines().filter(|line| !others.contains(line)).map(|line| format!("  {sign} {line}\n")).collect()
            };
            let heading = a.lines().next().unwrap_or(b);
            let (gone, new) = (only(a, b, '-'), only(b, a, '+'));
            let order =
                if gone.is_empty() && new.is_empty() { "  (the same lines in another order or number)\n" } else { "" };
            out += &format!("{heading}\n{gone}{new}{order}");
        }
    }
    out
}

/// A transcript command by command.
fn commands(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = text.match_indices("\n$ ").map(|(at, _)| at + 1).collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

#[test]
fn only_noise_is_taken_out() {
    let text = "NAME    AGE\na       12s\nuid: 01234567-89ab-cdef-0123-456789abcdef\n  resourceVersion: \"17\"\n";
    let plain = comparable(text, Path::new("/nowhere"));
    assert_eq!(plain, "NAME  AGE\na  <age>\nuid: <uid>\n  resourceVersion: \"<version>\"\n");
    assert!(difference(&plain, &plain).is_empty());
    let changed = plain.replace("a  ", "b  ");
    assert_eq!(difference(&format!("$ x\n{plain}"), &format!("$ x\n{changed}")), "$ x\n  - a  <age>\n  + b  <age>\n");
    assert!(difference("$ x\na\nb\n$ y\n", "$ x\nb\na\n$ y\n").contains("another order"));
}
