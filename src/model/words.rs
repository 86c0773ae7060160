//! How near a word is to another: for what somebody probably meant. Letters only; knows no language.

/// The nearest of these words, if it is no further away than so many slips.
#[must_use]
pub fn nearest<'a>(word: &str, of: impl IntoIterator<Item = &'a str>, slips_max: usize) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = of.into_iter().map(|one| (slips(&word, &one.to_lowercase()), one));
    near.filter(|(slips, _)| *slips <= slips_max).min_by_key(|(slips, _)| *slips).map(|(_, one)| one)
}

/// Letters to put in, take out or change to make one word the other.
#[must_use]
pub fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_far_apart_as_letters_change() {
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("waybil", "waybill", 1)] {
            assert_eq!((slips(a, b), slips(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_is_meant_if_it_is_near() {
        let words = ["hostname", "labels", "os"];
        assert_eq!(nearest("hostnam", words, 2), Some("hostname"));
        assert_eq!(nearest("HostName", words, 2), Some("hostname"));
        assert_eq!(nearest("lable", words, 3), Some("labels"));
        assert_eq!(nearest("colour", words, 2), None);
    }
}
