//! What names, labels and label values may look like, with the real server's sentences.

use regex::Regex;
use std::sync::LazyLock;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// The longest label, label value and part of a qualified name (DNS).
const MAX_LABEL_BYTES: usize = 63;
/// The longest subdomain (DNS).
const MAX_SUBDOMAIN_BYTES: usize = 253;

fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

// Constants that the tests match against; were one not a pattern, nothing would match it and every name be refused.
static LABELS: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL));
static SUBDOMAINS: LazyLock<Option<Regex>> = LazyLock::new(|| whole(&subdomain_pattern()));
static QUALIFIEDS: LazyLock<Option<Regex>> = LazyLock::new(|| whole(QUALIFIED));

fn subdomain_pattern() -> String {
    format!(r"{LABEL}(\.{LABEL})*")
}

fn fits(pattern: &Option<Regex>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// The real server counts bytes everywhere and says so of labels, but says characters of names.
fn too_long(limit: usize, unit: &str) -> String {
    format!("must be no more than {limit} {unit}")
}

/// The examples' commas are the real server's.
fn explained(what: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

/// What is wrong with a lower-case DNS subdomain.
pub(in crate::apiserver) fn subdomain(text: &str) -> Vec<String> {
    subdomain_in(text, "characters")
}

fn subdomain_in(text: &str, unit: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > MAX_SUBDOMAIN_BYTES {
        wrong.push(too_long(MAX_SUBDOMAIN_BYTES, unit));
    }
    if !fits(&SUBDOMAINS, text) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                    and must start and end with an alphanumeric character";
        wrong.push(explained(what, &subdomain_pattern(), &["example.com"]));
    }
    wrong
}

/// What is wrong with a lower-case DNS label.
pub(in crate::apiserver) fn label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > MAX_LABEL_BYTES {
        wrong.push(too_long(MAX_LABEL_BYTES, "characters"));
    }
    if fits(&LABELS, text) {
        return wrong;
    }
    if fits(&SUBDOMAINS, text) {
        wrong.push("must not contain dots".into());
    } else {
        let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                    and must start and end with an alphanumeric character";
        wrong.push(explained(what, LABEL, &["my-name", "123-abc"]));
    }
    wrong
}

const QUALIFIED_WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', \
                              and must start and end with an alphanumeric character";
const QUALIFIED_EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];

/// What is wrong with a label's key, an annotation's key or a finalizer: a name with an optional domain before it.
pub(in crate::apiserver) fn qualified(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match &text.split('/').collect::<Vec<_>>()[..] {
        [name] => *name,
        [prefix, name] => {
            match *prefix {
                "" => wrong.push("prefix part must be non-empty".into()),
                prefix => wrong.extend(subdomain_in(prefix, "bytes").iter().map(|why| format!("prefix part {why}"))),
            }
            *name
        }
        _ => {
            let what = explained(QUALIFIED_WHAT, QUALIFIED, &QUALIFIED_EXAMPLES);
            let rest = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {what} {rest}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else if name.len() > MAX_LABEL_BYTES {
        wrong.push(format!("name part {}", too_long(MAX_LABEL_BYTES, "bytes")));
    }
    if !fits(&QUALIFIEDS, name) {
        wrong.push(format!("name part {}", explained(QUALIFIED_WHAT, QUALIFIED, &QUALIFIED_EXAMPLES)));
    }
    wrong
}

/// What is wrong with a label's value.
pub(in crate::apiserver) fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > MAX_LABEL_BYTES {
        wrong.push(too_long(MAX_LABEL_BYTES, "bytes"));
    }
    if !text.is_empty() && !fits(&QUALIFIEDS, text) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character";
        wrong.push(explained(what, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}
