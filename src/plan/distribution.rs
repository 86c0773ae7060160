//! Which distribution point should hold which versions of a package. Presence by digest is what counts,
//! not what was once sent. It does not copy or remove anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::{content::digest::Digest, wire::points::VersionRef};

/// One Distribution of the package.
#[derive(Clone, Debug)]
pub struct DistributionFacts {
    /// Its points; `None` is all.
    pub points: Option<BTreeSet<String>>,
    /// Whether `startAfter` has passed by the server's clock and neither it nor the site is suspended.
    pub started: bool,
    /// Its resend token.
    pub resend_token: Option<String>,
}

/// Everything about one package.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// All versions of the content, newest first.
    pub versions: Vec<VersionRef>,
    /// Contents that clients are offered now.
    pub offered: BTreeSet<Digest>,
    /// Its Distributions.
    pub distributions: Vec<DistributionFacts>,
    /// All distribution points of the site.
    pub points: BTreeSet<String>,
    /// Of these, those that take no new copies; what they hold stays.
    pub suspended: BTreeSet<String>,
    /// What the ledger says is or may be where: point and version. Points that no longer exist included.
    pub present: BTreeSet<(String, VersionRef)>,
    /// Of these, what is complete and served.
    pub installed: BTreeSet<(String, VersionRef)>,
    /// The package is being deleted: everything goes.
    pub deleting: bool,
    /// Live advertisements still offer it; the last copy stays unless forced.
    pub live_advertisements: bool,
    /// An administrator forces the removal of the last copy.
    pub forced: bool,
}

/// What should be where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Versions to hold, with the resend token to honour.
    pub hold: BTreeMap<(String, VersionRef), Option<String>>,
    /// Versions to remove, from the ledger only.
    pub remove: BTreeSet<(String, VersionRef)>,
    /// Removals held back because they would take the last copy under a live advertisement.
    pub held_back: BTreeSet<(String, VersionRef)>,
}

/// Decides for one package.
#[must_use]
pub fn wanted(facts: &Facts) -> Wanted {
    let mut wanted = Wanted::default();
    if !facts.deleting {
        hold_targets(facts, &mut wanted);
    }
    for entry in &facts.present {
        if !wanted.hold.contains_key(entry) {
            wanted.remove.insert(entry.clone());
        }
    }
    hold_back_last_copies(facts, &mut wanted);
    wanted
}

fn hold_targets(facts: &Facts, wanted: &mut Wanted) {
    let Some(current) = facts.versions.first() else { return };
    let kept = kept_versions(facts);
    for point in &facts.points {
        let targeting: Vec<_> = facts
            .distributions
            .iter()
            .filter(|one| one.points.as_ref().is_none_or(|points| points.contains(point)))
            .collect();
        if targeting.is_empty() {
            continue;
        }
        let takes = !facts.suspended.contains(point);
        let started = || targeting.iter().filter(|one| takes && one.started);
        let token = started().find_map(|one| one.resend_token.clone());
        let has = |version: &VersionRef| facts.present.contains(&(point.clone(), version.clone()));
        if started().next().is_some() || has(current) {
            wanted.hold.insert((point.clone(), current.clone()), token);
        }
        // Older kept versions stay where they are; they are never copied anew, except what clients are offered now:
        // a point that lost it must get it back (presence, not memory).
        for version in &kept {
            let repair = facts.offered.contains(&version.content) && started().next().is_some();
            if has(version) || repair {
                wanted.hold.entry((point.clone(), version.clone())).or_insert(None);
            }
        }
    }
}

/// Current, previous and pinned versions.
fn kept_versions(facts: &Facts) -> Vec<VersionRef> {
    let pinned = |version: &&VersionRef| facts.offered.contains(&version.content);
    let mut kept: Vec<_> = facts.versions.iter().take(2).cloned().collect();
    kept.extend(facts.versions.iter().skip(2).filter(pinned).cloned());
    kept
}

fn hold_back_last_copies(facts: &Facts, wanted: &mut Wanted) {
    if !facts.live_advertisements || facts.forced {
        return;
    }
    for content in &facts.offered {
        let is_content = |entry: &&(String, VersionRef)| entry.1.content == *content;
        let stays = facts.installed.iter().filter(is_content).any(|entry| wanted.hold.contains_key(entry));
        if stays {
            continue;
        }
        let leaving: Vec<_> =
            facts.installed.iter().filter(is_content).filter(|entry| wanted.remove.contains(*entry)).cloned().collect();
        for entry in leaving {
            wanted.remove.remove(&entry);
            wanted.hold.insert(entry.clone(), None);
            wanted.held_back.insert(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::ObjectName;

    fn version(number: u64) -> VersionRef {
        VersionRef {
            package: ObjectName::new("ns", "p"),
            source_version: number,
            content: Digest::of(number.to_string().as_bytes()),
        }
    }

    fn at(point: &str, number: u64) -> (String, VersionRef) {
        (point.to_owned(), version(number))
    }

    fn facts(versions: &[u64], points: Option<&[&str]>) -> Facts {
        Facts {
            versions: versions.iter().map(|number| version(*number)).collect(),
            distributions: vec![DistributionFacts {
                points: points.map(|points| points.iter().map(|point| (*point).to_owned()).collect()),
                started: true,
                resend_token: None,
            }],
            points: ["a", "b"].map(str::to_owned).into(),
            ..Facts::default()
        }
    }

    fn held(wanted: &Wanted) -> Vec<(String, u64)> {
        wanted.hold.keys().map(|(point, version)| (point.clone(), version.source_version)).collect()
    }

    #[test]
    fn every_targeted_point_holds_the_current_version_and_keeps_the_previous() {
        let mut facts = facts(&[3, 2, 1], None);
        facts.present = [at("a", 2), at("a", 1)].into();
        let wanted = wanted(&facts);
        assert_eq!(held(&wanted), [("a".into(), 2), ("a".into(), 3), ("b".into(), 3)]);
        assert_eq!(wanted.remove, [at("a", 1)].into());
    }

    #[test]
    fn nothing_is_sent_before_its_time_and_nothing_is_taken_away_meanwhile() {
        let mut facts = facts(&[2, 1], None);
        facts.distributions[0].started = false;
        facts.present = [at("a", 1)].into();
        let wanted = wanted(&facts);
        assert_eq!(held(&wanted), [("a".into(), 1)]);
        assert!(wanted.remove.is_empty());
    }

    #[test]
    fn an_untargeted_point_loses_it_but_never_the_last_copy_under_a_live_advertisement() {
        let mut facts = facts(&[1], Some(&["b"]));
        facts.present = [at("a", 1)].into();
        facts.installed = facts.present.clone();
        facts.offered = [version(1).content].into();
        facts.live_advertisements = true;
        let held_back = wanted(&facts);
        assert_eq!(held_back.held_back, [at("a", 1)].into());
        facts.installed.insert(at("b", 1));
        facts.present.insert(at("b", 1));
        assert_eq!(wanted(&facts).remove, [at("a", 1)].into());
    }

    #[test]
    fn l6_deletion_removes_everything_reported_once_no_advertisement_needs_it_or_it_is_forced() {
        let mut facts = facts(&[2, 1], None);
        facts.deleting = true;
        facts.present = [at("a", 1), at("a", 2), at("gone", 2)].into();
        facts.installed = facts.present.clone();
        facts.offered = [version(2).content].into();
        facts.live_advertisements = true;
        assert_eq!(wanted(&facts).held_back, [at("a", 2), at("gone", 2)].into());
        facts.forced = true;
        assert_eq!(wanted(&facts).remove, facts.present);
        facts.forced = false;
        facts.live_advertisements = false;
        assert_eq!(wanted(&facts).remove, facts.present);
    }

    #[test]
    fn l4_presence_counts_not_memory_and_a_token_sends_again() {
        let mut facts = facts(&[1], None);
        facts.distributions[0].resend_token = Some("again".into());
        let wanted = wanted(&facts);
        assert_eq!(wanted.hold[&at("b", 1)], Some("again".to_owned()));
    }
}
