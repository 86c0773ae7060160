//! Sizes as people write them in manifests (`500Mi`, `2Gi`), the binary subset of Kubernetes quantities. Bytes.

/// The pattern of the text form, used in schemas as well.
pub const PATTERN: &str = "^[0-9]{1,12}(Ki|Mi|Gi|Ti)?$";

/// Reads a size in bytes; `None` if the text does not follow [`PATTERN`] or exceeds 64 bits.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        _ => return None,
    };
    if count.is_empty() || count.len() > 12 {
        return None;
    }
    count.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Writes a size for people, with one decimal from a KiB on: `1.5 GiB`.
#[must_use]
pub fn display_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(parse_bytes("512"), Some(512));
        assert_eq!(parse_bytes("2Gi"), Some(2 << 30));
        for text in ["", "Gi", "1.5Gi", "-1", "1G", "99999999999999", "999999999999Ti"] {
            assert_eq!(parse_bytes(text), None, "{text:?}");
        }
        assert_eq!(display_bytes(1536), "1.5 KiB");
        assert_eq!(display_bytes(7), "7 B");
    }
}
