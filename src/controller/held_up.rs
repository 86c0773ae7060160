//! What is declared and waits for somebody, counted for the site's own status: whoever looks there alone must see it.
//! Judges by the conditions that the objects show.

use kube::{Resource, ResourceExt, runtime::reflector::Store};

use super::context::Stores;
use crate::{
    api::{
        conditions::{Observed, needs_somebody},
        package::{Package, Source},
    },
    plan::summary::{Health, declared_health},
};

/// Objects that a sentence names; the rest are counted.
const NAMED_MAX: usize = 3;

/// The objects that wait for somebody.
#[derive(Debug, Default)]
pub(super) struct HeldUp {
    /// Nothing of these gets to any client.
    reaches_nobody: usize,
    others: usize,
    named: Vec<String>,
}

impl HeldUp {
    pub(super) fn of(stores: &Stores) -> Self {
        let mut all = Self::default();
        // An advertisement that is stalled is offered to nobody, and a package without a version is on no point.
        all.add(&stores.advertisements, |one| Some(&one.status.as_ref()?.observed), |_| true);
        all.add(&stores.packages, |one| Some(&one.status.as_ref()?.observed), has_no_version);
        all.add(&stores.programs, |one| Some(&one.status.as_ref()?.observed), |_| false);
        all.add(&stores.distributions, |one| Some(&one.status.as_ref()?.observed), |_| false);
        all.add(&stores.collections, |one| Some(&one.status.as_ref()?.observed), |_| false);
        all
    }

    fn add<K: Resource<DynamicType = ()> + Clone + 'static>(
        &mut self,
        store: &Store<K>,
        observed: impl Fn(&K) -> Option<&Observed>,
        reaches_nobody: impl Fn(&K) -> bool,
    ) {
        for object in store.state() {
            let Some(ready) = observed(&object).and_then(|observed| needs_somebody(&observed.conditions)) else {
                continue;
            };
            *(if reaches_nobody(&object) { &mut self.reaches_nobody } else { &mut self.others }) += 1;
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            self.named.push(format!("{} {namespace}/{name} ({})", K::kind(&()), ready.reason));
        }
        self.named.sort();
    }

    pub(super) fn count(&self) -> usize {
        self.reaches_nobody + self.others
    }

    pub(super) fn health(&self) -> Health {
        declared_health(self.reaches_nobody, self.others)
    }

    /// The first of them, for people; nothing if there are none.
    pub(super) fn sentence(&self) -> Option<String> {
        let mut named: Vec<String> = self.named.iter().take(NAMED_MAX).cloned().collect();
        let more = self.named.len().saturating_sub(NAMED_MAX);
        named.extend((more > 0).then(|| format!("{more} more")));
        (!named.is_empty()).then(|| format!("held up: {}", named.join(", ")))
    }
}

fn has_no_version(package: &Package) -> bool {
    let version = package.status.as_ref().and_then(|status| status.source_version);
    version.is_none() && matches!(package.spec.source, Source::Directory(_))
}
