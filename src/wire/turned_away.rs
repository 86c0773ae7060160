//! Why a site, or one of its access points, turns a device away that has a valid certificate: said in a header, so that the
//! device can tell it from a fault on the way. Not signed: whoever acts on it asks the site itself first.

use std::fmt;

/// The header of such a refusal; its value is [`TurnedAway::as_str`].
pub const TURNED_AWAY_HEADER: &str = "waybill-turned-away";

/// Why a device is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TurnedAway {
    /// An administrator blocked it, and may unblock it.
    Blocked,
    /// It was deleted: the site does not know it any more.
    Deleted,
}

impl TurnedAway {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the header's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Blocked, Self::Deleted].into_iter().find(|one| one.as_str() == text)
    }
}

impl fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "the site's administrators have blocked it; they let it back with `waybill clients unblock`",
            Self::Deleted => {
                "it was deleted at the site; join it anew with a join file from `waybill token create`, given with --join"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for one in [TurnedAway::Blocked, TurnedAway::Deleted] {
            assert_eq!(TurnedAway::parse(one.as_str()), Some(one));
        }
        assert_eq!(TurnedAway::parse("no"), None);
    }
}
