//! What stands in the place of an entry of a commit that has no bytes: a dangling symbolic link whose text says what was there.
//! Who writes a directory and who reads it agree here on the words; nothing is read or written.

use std::ffi::OsStr;

/// An entry that has no bytes to distribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandIn {
    /// A symbolic link, which could point anywhere.
    SymbolicLink,
    /// Another repository.
    Submodule,
    /// A file whose content lies on a Git LFS server.
    LfsPointer,
}

impl StandIn {
    const ALL: [Self; 3] = [Self::SymbolicLink, Self::Submodule, Self::LfsPointer];

    /// For messages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::SymbolicLink => "a symbolic link",
            Self::Submodule => "a git submodule",
            Self::LfsPointer => "a Git LFS pointer",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::SymbolicLink => "put the file itself there",
            Self::Submodule => "commit its files themselves",
            Self::LfsPointer => "commit the file itself",
        }
    }

    /// The text of the link that stands there.
    #[must_use]
    pub fn text(self) -> String {
        format!("waybill: {} is not exported", self.describe())
    }

    /// What a link of this text stands for; any other link is itself.
    #[must_use]
    pub fn of(text: &OsStr) -> Self {
        Self::ALL.into_iter().find(|one| text == one.text().as_str()).unwrap_or(Self::SymbolicLink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_text_says_what_it_stands_for() {
        for one in StandIn::ALL {
            assert_eq!(StandIn::of(one.text().as_ref()), one);
        }
        assert_eq!(StandIn::of("../elsewhere".as_ref()), StandIn::SymbolicLink);
    }
}
