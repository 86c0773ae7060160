//! The word of an administrator that a revision may remove what the prune guard holds back: found by the revision's first
//! digits, written as an annotation of the Site. Removes nothing itself.

use std::collections::BTreeMap;

use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{kinds::ObjectKey, live::LiveObject};
use crate::api::{ACKNOWLEDGE_PRUNE_ANNOTATION, site::Site};

/// Digits of a revision that are enough to name it, as with git.
const DIGITS_MIN: usize = 7;

/// Why a revision could not be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// The API failed.
    #[error("the site cannot be read or annotated")]
    Api(#[source] kube::Error),
    /// The text names no revision.
    #[error("'{0}' names no revision: give at least its first {DIGITS_MIN} digits, as `waybill status` shows it")]
    NoRevision(String),
    /// Several revisions begin so.
    #[error("'{written}' is the beginning of several revisions that are held back: {}", .held.join(", "))]
    Ambiguous {
        /// What was asked for.
        written: String,
        /// What it may mean.
        held: Vec<String>,
    },
    /// Another one is held back.
    #[error("revision {written} is not held back; {held} is")]
    Other {
        /// What was asked for.
        written: String,
        /// What is held back.
        held: String,
    },
    /// None is held back.
    #[error("no revision is held back, so there is nothing to acknowledge")]
    NothingHeld,
    /// The manifests are gone, which is no revision.
    #[error("the manifests cannot be read, and nothing is removed until they can: `waybill status` shows why")]
    Unreadable,
}

/// Allows the removals of a held-back revision, given in full or by its first 7 or more digits. Answers the revision.
///
/// # Errors
/// [`AcknowledgeError`], each with the remedy.
pub async fn acknowledge(client: &Client, written: &str) -> Result<String, AcknowledgeError> {
    let api: Api<Site> = Api::all(client.clone());
    let sites = api.list(&ListParams::default()).await.map_err(AcknowledgeError::Api)?;
    let (mut held, mut unreadable) = (Vec::new(), false);
    for site in &sites {
        let Some(sync) = site.status.as_ref().and_then(|status| status.sync.as_ref()) else { continue };
        match &sync.held_revision {
            Some(revision) => held.push((site.name_any(), revision.clone())),
            None => unreadable |= !sync.held_removals.is_empty(),
        }
    }
    let (site, full) = meant(written, held, unreadable)?;
    let patch = json!({ "metadata": { "annotations": { ACKNOWLEDGE_PRUNE_ANNOTATION: full } } });
    let patched = api.patch(&site, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map_err(AcknowledgeError::Api)?;
    Ok(full)
}

/// The site and the revision that somebody means, of those that are held back.
fn meant(written: &str, held: Vec<(String, String)>, unreadable: bool) -> Result<(String, String), AcknowledgeError> {
    let written = written.trim();
    if written.len() < DIGITS_MIN || !written.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(AcknowledgeError::NoRevision(written.to_owned()));
    }
    let (mut fitting, mut others): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|(_, revision)| acknowledges(written, revision));
    match (fitting.pop(), others.pop()) {
        (Some((_, one)), _) if fitting.iter().any(|(_, other)| *other != one) => {
            let held = fitting.into_iter().map(|(_, revision)| revision).chain([one]).collect();
            Err(AcknowledgeError::Ambiguous { written: written.to_owned(), held })
        }
        (Some(one), _) => Ok(one),
        (None, Some((_, held))) => Err(AcknowledgeError::Other { written: written.to_owned(), held }),
        (None, None) if unreadable => Err(AcknowledgeError::Unreadable),
        (None, None) => Err(AcknowledgeError::NothingHeld),
    }
}

/// Whether what somebody wrote means this revision: all of it, or its first 7 or more digits.
#[must_use]
pub fn acknowledges(written: &str, revision: &str) -> bool {
    written.len() >= DIGITS_MIN
        && revision.get(..written.len()).is_some_and(|start| start.eq_ignore_ascii_case(written))
}

/// What people wrote into the acknowledgement annotation of sites.
pub(crate) fn written_acknowledgements(live: &BTreeMap<ObjectKey, LiveObject>) -> Vec<String> {
    let sites = live.iter().filter(|(key, _)| key.kind == "Site");
    let annotation = |object: &LiveObject| {
        let annotations = object.content.get("metadata")?.get("annotations")?;
        Some(annotations.get(ACKNOWLEDGE_PRUNE_ANNOTATION)?.as_str()?.trim().to_owned())
    };
    sites.filter_map(|(_, object)| annotation(object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(written: &str, held: &[&str], unreadable: bool) -> Result<String, String> {
        let held = held.iter().map(|revision| ("main".to_owned(), (*revision).to_owned())).collect();
        meant(written, held, unreadable).map(|(_, revision)| revision).map_err(|error| error.to_string())
    }

    #[test]
    fn a_beginning_of_seven_digits_is_enough_if_it_is_of_one_revision() {
        const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
        for written in ["0123456", "0123456789ABCDEF", " 0123456789abcdef0123456789abcdef01234567\n"] {
            assert_eq!(asked(written, &[REVISION], false), Ok(REVISION.to_owned()), "{written}");
        }
        for (written, held, unreadable, expected) in [
            ("012345", &[REVISION][..], false, "at least its first 7 digits"),
            ("HEAD~1-and-more", &[REVISION], false, "names no revision"),
            ("0123456", &["01234567a", "01234567b"], false, "several revisions"),
            ("fffffff", &[REVISION], false, "0123456789abcdef0123456789abcdef01234567 is"),
            ("0123456", &[], false, "nothing to acknowledge"),
            ("0123456", &[], true, "cannot be read"),
        ] {
            let refused = asked(written, held, unreadable).unwrap_err();
            assert!(refused.contains(expected), "{written}: {refused}");
        }
    }
}
