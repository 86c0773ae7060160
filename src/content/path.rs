//! The one type for paths that come from outside: relative, portable, unable to leave the directory they are joined to.
//! The second wall, opening them without following links, is in `beneath`; nothing here touches files.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

/// Longest component, in bytes: what ext4, XFS and NTFS hold.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Longest path, in bytes: leaves room for the directory it is joined to within Linux's 4096.
pub const MAX_PATH_BYTES: usize = 1024;
/// Most components: bounds open descriptors and recursion in every walk.
pub const MAX_DEPTH: usize = 64;

/// Directories of the operating system: neither they nor what lies in them is ever a package.
pub const SYSTEM_DIRECTORIES: &[&str] =
    &["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr"];
/// Directories in [`SYSTEM_DIRECTORIES`] that belong to the machine's administrator all the same.
pub const SYSTEM_EXEMPT: &[&str] = &["/usr/local", "/usr/src"];

/// Whether an absolute path, read as text, names a directory of the operating system, or the root of everything. It sees
/// no links: who opens a directory looks again.
#[must_use]
pub fn names_system_directory(path: &Path) -> bool {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let within = |directories: &[&str]| directories.iter().any(|directory| plain.starts_with(directory));
    path.is_absolute() && (plain == Path::new("/") || (within(SYSTEM_DIRECTORIES) && !within(SYSTEM_EXEMPT)))
}

/// A relative path of normal components with `/` between them, in Unicode's composed form (NFC).
///
/// The rules are those that let one tree exist unchanged on every file system a client may have: see [`PathError`]
/// for what is refused. Letters of any script and spaces inside a name are fine. Ordered by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SafePath(String);

/// Why a text is not a safe path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, a leading, trailing or doubled slash.
    #[error("it is empty, absolute, or has an empty component")]
    Empty,
    /// `.` or `..`.
    #[error("it has a component \".\" or \"..\"")]
    Dots,
    /// Backslash, colon (drive letters, alternate streams) or a control character.
    #[error("it has a backslash, a colon or a control character")]
    Character,
    /// Windows drops these silently, so two names would be one.
    #[error("a component ends with a dot or a space")]
    TrailingDotOrSpace,
    /// A name such as `NUL` or `com1.txt`, which opens a device on Windows.
    #[error("a component is the name of a Windows device")]
    DeviceName,
    /// Not in composed form: two spellings of one visible name.
    #[error("it is not in Unicode's composed form (NFC); rename it")]
    NotComposed,
    /// See [`MAX_COMPONENT_BYTES`].
    #[error("a component is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
    /// See [`MAX_PATH_BYTES`].
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// See [`MAX_DEPTH`].
    #[error("it has more than {MAX_DEPTH} components")]
    TooDeep,
}

impl SafePath {
    /// The path as text, with `/` between components.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as a relative [`Path`].
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The components, first to last; never empty.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The path of the directory that holds it; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<SafePath> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Every directory above it, outermost first: `a`, `a/b` for `a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }

    /// One name below this path.
    ///
    /// # Errors
    /// The name breaks a rule, or the whole becomes too long or too deep.
    pub fn child(&self, name: &str) -> Result<SafePath, PathError> {
        check_component(name)?;
        Self::checked_whole(format!("{}/{name}", self.0))
    }

    /// The place of this path below `base`.
    #[must_use]
    pub fn below(&self, base: &Path) -> PathBuf {
        base.join(&self.0)
    }

    /// A key that is equal for paths which a case-insensitive file system would take for one. Upper case first and
    /// lower case after it approximates Unicode's full case folding ("ß" meets "SS") without its tables.
    #[must_use]
    pub fn fold_key(&self) -> String {
        fold(&self.0)
    }

    fn checked_whole(path: String) -> Result<Self, PathError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if path.bytes().filter(|&b| b == b'/').count() >= MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        Ok(Self(path))
    }
}

pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Checks one component by the same rules; for names that become a directory of their own, such as a namespace.
///
/// # Errors
/// The rule that `name` breaks.
pub fn check_component(name: &str) -> Result<(), PathError> {
    match name {
        "" => return Err(PathError::Empty),
        "." | ".." => return Err(PathError::Dots),
        _ => {}
    }
    if name.len() > MAX_COMPONENT_BYTES {
        return Err(PathError::ComponentTooLong);
    }
    if name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control()) {
        return Err(PathError::Character);
    }
    if name.ends_with(['.', ' ']) {
        return Err(PathError::TrailingDotOrSpace);
    }
    if is_device_name(name) {
        return Err(PathError::DeviceName);
    }
    if !name.is_ascii() && !ComposingNormalizerBorrowed::new_nfc().is_normalized(name) {
        return Err(PathError::NotComposed);
    }
    Ok(())
}

/// The names Windows reserves, with any extension and with spaces before it.
fn is_device_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |port: &str| {
        stem.strip_prefix(port).is_some_and(|n| {
            let mut chars = n.chars();
            matches!(chars.next(), Some('0'..='9' | '¹' | '²' | '³')) && chars.next().is_none()
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
        || numbered("COM")
        || numbered("LPT")
}

impl FromStr for SafePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        path.to_owned().try_into()
    }
}

impl TryFrom<String> for SafePath {
    type Error = PathError;

    fn try_from(path: String) -> Result<Self, PathError> {
        let path = Self::checked_whole(path)?;
        path.components().try_for_each(check_component)?;
        Ok(path)
    }
}

impl From<SafePath> for String {
    fn from(path: SafePath) -> Self {
        path.0
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass_unchanged() {
        for text in [
            "a",
            "bin/setup.sh",
            ".hidden",
            "..a",
            "a..b",
            "Program Files/App 1.0/read me.txt",
            "日本語/ファイル",
            "naïve café",
            "Ünïcode",
            "a\"quote'",
            "$(id)",
            "*?<>|",
            "-rf",
            "~",
            "console",
            "com10",
            "compress.c",
            "nulls",
            "lpt",
            "aux-1",
        ] {
            assert_eq!(text.parse::<SafePath>().map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn hostile_names_are_refused_by_the_rule_they_break() {
        use PathError::*;
        for (text, error) in [
            ("", Empty),
            ("/", Empty),
            ("/etc/passwd", Empty),
            ("a//b", Empty),
            ("a/", Empty),
            ("//host/share", Empty),
            (".", Dots),
            ("..", Dots),
            ("../x", Dots),
            ("a/../b", Dots),
            ("a/./b", Dots),
            ("a/..", Dots),
            ("./a", Dots),
            ("a\\b", Character),
            ("..\\x", Character),
            ("C:", Character),
            ("c:/x", Character),
            ("x:y", Character),
            ("a\0b", Character),
            ("a\nb", Character),
            ("a\x1b[2Jb", Character),
            ("a\u{7f}", Character),
            ("a\u{85}", Character),
            ("a.", TrailingDotOrSpace),
            ("a ", TrailingDotOrSpace),
            ("...", TrailingDotOrSpace),
            (" ", TrailingDotOrSpace),
            ("a ./b", TrailingDotOrSpace),
            ("b/a /c", TrailingDotOrSpace),
            ("NUL", DeviceName),
            ("nul", DeviceName),
            ("con", DeviceName),
            ("a/PrN/b", DeviceName),
            ("aux.tar.gz", DeviceName),
            ("COM1", DeviceName),
            ("com0.txt", DeviceName),
            ("LPT9", DeviceName),
            ("com¹", DeviceName),
            ("lpt³.x", DeviceName),
            ("con .txt", DeviceName),
            ("conin$", DeviceName),
            ("CONOUT$", DeviceName),
            ("clock$", DeviceName),
            ("cafe\u{301}", NotComposed),
            ("\u{212b}", NotComposed),
            ("\u{0340}", NotComposed),
        ] {
            assert_eq!(text.parse::<SafePath>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn limits_hold_at_one_below_at_and_one_above() {
        let component = |n| "x".repeat(n).parse::<SafePath>().err();
        assert_eq!((component(254), component(255), component(256)), (None, None, Some(PathError::ComponentTooLong)));
        assert_eq!("é".repeat(128).parse::<SafePath>().err(), Some(PathError::ComponentTooLong));
        let deep = |n| vec!["d"; n].join("/").parse::<SafePath>().err();
        assert_eq!((deep(63), deep(64), deep(65)), (None, None, Some(PathError::TooDeep)));
        let long = |n: usize| {
            [&"x".repeat(255), &"y".repeat(255), &"z".repeat(255), &"w".repeat(254), &"v".repeat(n - 1023)]
                .map(String::as_str)
                .join("/")
                .parse::<SafePath>()
                .err()
        };
        assert_eq!((long(1024), long(1025)), (None, Some(PathError::TooLong)));
    }

    #[test]
    fn fold_key_meets_what_a_case_insensitive_file_system_meets() {
        let key = |text: &str| text.parse::<SafePath>().unwrap().fold_key();
        assert_eq!(key("README"), key("ReadMe"));
        assert_eq!(key("straße"), key("STRASSE"));
        assert_eq!(key("ÄÖ"), key("äö"));
        assert_ne!(key("a/b"), key("a b"));
    }

    #[test]
    fn relatives() {
        let path: SafePath = "a/b/c".parse().unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "a/b");
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.below(Path::new("/x")), Path::new("/x/a/b/c"));
        assert_eq!(path.child("..").err(), Some(PathError::Dots));
        assert_eq!(path.child("a/b").err(), Some(PathError::Character));
    }
}
