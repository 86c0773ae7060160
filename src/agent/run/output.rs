//! What a program wrote: its last 64 KiB in a file, and a form that may be shown on a terminal. Never the whole output:
//! a program that writes without end costs neither disk nor memory.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::journal::OUTPUT;

/// How much of a program's output is kept.
pub const TAIL_BYTES: usize = 64 << 10;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: VecDeque<u8>,
    total_bytes: u64,
    dirty: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (self.kept.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.kept.drain(..surplus);
        self.kept.extend(bytes);
        self.dirty = true;
    }

    /// Bytes ever pushed.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Brings the file up to date if anything was pushed since. A failure costs output, never the run: the caller may
    /// go on and try again.
    pub(super) fn store(&mut self, run_dir: &Path) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let temporary = run_dir.join("output.tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let (first, second) = self.kept.as_slices();
        file.write_all(first)?;
        file.write_all(second)?;
        fs::rename(&temporary, run_dir.join(OUTPUT))?;
        self.dirty = false;
        Ok(())
    }
}

/// The kept output of a run; empty if there is none, or no longer.
///
/// # Errors
/// The file exists but cannot be read.
pub fn read_output(run_dir: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(run_dir.join(OUTPUT)) {
        Ok(file) => file.take(TAIL_BYTES as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

/// The end of `bytes` as text that is safe on a terminal and in a status message, at most `max_bytes` long: invalid
/// UTF-8 is replaced; control characters and those that reorder or hide text are written as `\x1b` or `\u{202e}`; line
/// feeds and tabs stay, and a carriage return before a line feed goes.
#[must_use]
pub fn printable(bytes: &[u8], max_bytes: usize) -> String {
    // Escaping never shortens by more than the carriage returns, so more input than this cannot be shown.
    let start = bytes.len().saturating_sub(max_bytes.saturating_mul(2));
    let text = String::from_utf8_lossy(&bytes[start..]).replace("\r\n", "\n");
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            _ if character.is_ascii_control() => drop(write!(shown, "\\x{:02x}", u32::from(character))),
            _ if is_unsafe(character) => drop(write!(shown, "\\u{{{:x}}}", u32::from(character))),
            _ => shown.push(character),
        }
    }
    let mut cut = shown.len().saturating_sub(max_bytes);
    while !shown.is_char_boundary(cut) {
        cut += 1;
    }
    shown.split_off(cut)
}

/// Later control characters, line separators, and the marks that change the direction of text or cannot be seen.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_64_kib_whatever_the_pieces() {
        let all: Vec<u8> = (0..300_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for piece in [1000, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, 200_000] {
            let dir = tempfile::tempdir().unwrap();
            let mut tail = Tail::default();
            all.chunks(piece).for_each(|bytes| {
                tail.push(bytes);
                tail.store(dir.path()).unwrap();
            });
            assert_eq!(read_output(dir.path()).unwrap(), all[all.len() - TAIL_BYTES..], "{piece}");
            assert_eq!(tail.total_bytes(), 300_000);
        }
    }

    #[test]
    fn nothing_is_stored_without_output_and_a_missing_file_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        Tail::default().store(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(read_output(dir.path()).unwrap(), b"");
    }

    #[test]
    fn output_cannot_drive_a_terminal() {
        for (bytes, expected) in [
            (&b"plain\tline\r\nnext\n"[..], "plain\tline\nnext\n"),
            (b"\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
            (b"50%\rdone\x7f", "50%\\x0ddone\\x7f"),
            (b"\xff\xfeok", "\u{fffd}\u{fffd}ok"),
            ("a\u{202e}b\u{200b}c\u{9b}31m".as_bytes(), "a\\u{202e}b\\u{200b}c\\u{9b}31m"),
            ("grün".as_bytes(), "grün"),
        ] {
            assert_eq!(printable(bytes, 1000), expected);
        }
    }

    #[test]
    fn the_end_is_kept_within_the_limit_and_characters_stay_whole() {
        assert_eq!(printable(b"0123456789", 4), "6789");
        assert_eq!(printable("ééé".as_bytes(), 3), "é");
        assert!(printable(&[0x1b; 10_000], 100).len() <= 100);
        assert_eq!(printable("x\r\n".repeat(100).as_bytes(), 6), "x\nx\nx\n");
        assert_eq!(printable(b"abc", 0), "");
    }
}
