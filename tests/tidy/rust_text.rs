//! Reads Rust as far as the rules need it: code without comments and literals, and the paths that the code names. Not a
//! parser: macros are read as the text they are.

/// `text` with comments and the insides of literals replaced by spaces; lines stay where they were.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let starts = |from: usize, what: &str| what.chars().enumerate().all(|(n, c)| chars.get(from + n) == Some(&c));
    let find = |from: usize, what: &str| (from..chars.len()).find(|n| starts(*n, what)).unwrap_or(chars.len());
    let inside_a_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if starts(at, "//") => find(at, "\n"),
        '/' if starts(at, "/*") => (find(at, "*/") + 2).min(chars.len()),
        'r' if !inside_a_name && raw_hashes(chars, at + 1).is_some() => {
            let hashes = raw_hashes(chars, at + 1).unwrap_or_default();
            let close = format!("\"{}", "#".repeat(hashes));
            (find(at + 2 + hashes, &close) + close.len()).min(chars.len())
        }
        '"' => {
            let mut end = at + 1;
            while end < chars.len() && chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            (end + 1).min(chars.len())
        }
        // 'x' and '\…' are characters; 'x without a closing quote is a lifetime.
        '\'' if chars.get(at + 1) == Some(&'\\') => (find(at + 3, "'") + 1).min(chars.len()),
        '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// How many `#` stand between `at` and a quote, if that is what stands there.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

/// Code without the test module at its end: a unit test may use what its file may not.
pub(crate) fn without_tests(code: &str) -> &str {
    let start = code.match_indices("#[cfg(test)]").find(|(at, marker)| {
        let after = code[at + marker.len()..].trim_start();
        after.starts_with("mod ") && after.find('{') < after.find(';').or(Some(usize::MAX)) && after.contains('{')
    });
    start.map_or(code, |(at, _)| &code[..at])
}

/// Every path of two or more segments in `code`, with its line; groups (`a::{b, c::d}`) are written out.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let starts = is_name(bytes[at]) && (at == 0 || !is_name(bytes[at - 1]));
        let end = if starts { path(code, at, "", &mut |path| found.push((line, path))) } else { at + 1 };
        line += code[at..end].matches('\n').count();
        at = end;
    }
    found.retain(|(_, path)| path.contains("::"));
    found
}

fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Reads the path that starts at `at` below `prefix`, gives it to `take`, and says where it ended.
fn path(code: &str, at: usize, prefix: &str, take: &mut dyn FnMut(String)) -> usize {
    let bytes = code.as_bytes();
    let mut end = at;
    while end < bytes.len() && is_name(bytes[end]) {
        end += 1;
    }
    let name = format!("{prefix}{}", &code[at..end]);
    let rest = &code[end..];
    if rest.starts_with("::{") {
        group(code, end + 3, &format!("{name}::"), take)
    } else if rest.starts_with("::") && rest[2..].starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric()) {
        path(code, end + 2, &format!("{name}::"), take)
    } else {
        take(name);
        end
    }
}

fn group(code: &str, mut at: usize, prefix: &str, take: &mut dyn FnMut(String)) -> usize {
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'}' => return at + 1,
            byte if is_name(byte) => {
                at = path(code, at, prefix, take);
                // `as name` renames; the new name is no path.
                while at < bytes.len() && !matches!(bytes[at], b',' | b'}') {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    at
}

#[test]
fn literals_and_comments_are_no_code() {
    let code = code_only(
        "let a = \"crate::x\"; // crate::y\nlet b = 'c'; let c: &'static str = r#\"crate::\"z\"#; /* crate::w\n */ d('\\'', '\"', e)",
    );
    assert!(!code.contains("crate"), "{code}");
    assert!(code.contains("let c: &'static str") && code.contains(", e)"), "{code}");
    assert_eq!(code.lines().count(), 3);
}

#[test]
fn paths_are_written_out() {
    let code =
        "use crate::{model::{id as i, state}, content};\nlet x = crate::plan::offer::decide(a); b.c; std::mem::take(d)";
    let expected = [
        (1, "crate::model::id"),
        (1, "crate::model::state"),
        (1, "crate::content"),
        (2, "crate::plan::offer::decide"),
        (2, "std::mem::take"),
    ];
    assert_eq!(paths(code), expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn only_a_test_module_with_a_body_is_cut_off() {
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n b }"), "a\n");
    let beside = "#[cfg(test)]\nmod tests;\nfn a() {}";
    assert_eq!(without_tests(beside), beside);
}
