//! Which parts of a query are false for one client, for people who ask why it is no member. Cuts a query at its outermost
//! `&&` and evaluates the parts by [`super::membership`]; a query with an outermost `||` or `?` is one part.

use super::query::{ClientFacts, Query};

/// Parts of a query whose outermost operator is `&&`; otherwise the whole query.
fn parts(query: &str) -> Vec<&str> {
    let bytes = query.as_bytes();
    let (mut depth, mut start, mut i) = (0_usize, 0, 0);
    let mut parts = Vec::new();
    while i < bytes.len() {
        match bytes[i] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            quote @ (b'"' | b'\'') => i = end_of_text(bytes, i, quote),
            b'?' if depth == 0 => return vec![query.trim()],
            b'|' if depth == 0 && bytes.get(i + 1) == Some(&b'|') => return vec![query.trim()],
            b'&' if depth == 0 && bytes.get(i + 1) == Some(&b'&') => {
                parts.push(query[start..i].trim());
                i += 1;
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    parts.push(query[start..].trim());
    parts
}

/// Index of the quote that ends a text literal which begins at `start`; the end if none does.
fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            byte if byte == quote => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// The parts of the query that are not true for this client; the whole query if they cannot be told apart.
#[must_use]
pub fn false_parts(query: &str, client: &ClientFacts) -> Vec<String> {
    let holds = |part: &&str| Query::compile(part).ok().and_then(|part| part.selects(client).ok());
    let found: Vec<String> =
        parts(query).into_iter().filter(|part| holds(part) != Some(true)).map(str::to_owned).collect();
    if found.is_empty() { vec![query.trim().to_owned()] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_cut_at_the_outermost_and() {
        assert_eq!(parts("a && b&&c"), ["a", "b", "c"]);
        assert_eq!(parts("(a && b) && [x && y][0]"), ["(a && b)", "[x && y][0]"]);
        assert_eq!(parts(r#"a == "x && \" y" && b == '&&"'"#), [r#"a == "x && \" y""#, r#"b == '&&"'"#]);
        assert_eq!(parts("a && b || c"), ["a && b || c"]);
        assert_eq!(parts("a ? b : c && d"), ["a ? b : c && d"]);
        assert_eq!(parts(r#""open && "#), [r#""open && "#.trim()]);
    }

    #[test]
    fn only_false_parts_are_named() {
        let client = ClientFacts { id: "c-1".into(), ..ClientFacts::default() };
        let query = r#"client.id == "c-1" && client.cpus > 4 && client.labels["ring"] == "pilot""#;
        assert_eq!(false_parts(query, &client), ["client.cpus > 4", r#"client.labels["ring"] == "pilot""#]);
        assert_eq!(false_parts("client.cpus > 4 || false", &client), ["client.cpus > 4 || false"]);
    }
}
