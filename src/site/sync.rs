//! Ties git sync to the controllers: what it reports becomes the revision in force, and its end lets packages look.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::first_grant::FirstGrant;
use crate::{
    api::{
        FIELD_MANAGER,
        distribution_point::DistributionPoint,
        site::{Site, SyncStatus},
    },
    controller::{
        context::{Declares, Revision, Stores, TreeOf},
        nudge::Nudges,
    },
    gitops::{
        self,
        diagnostic::Severity,
        kinds::ObjectKey,
        state::{Declared, HeldExport, RevisionState, Written},
        sync::{SyncConfig, SyncError},
    },
    model::identity::ObjectName,
};

/// Problems and removals listed in `Site.status.sync` at most; the schema says the same.
const LISTED_MAX: usize = 50;

/// Watches that are further behind are not waited for.
const WATCHES_MAX: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const WATCHES_LOOK: Duration = Duration::from_millis(5);

/// Git sync with those whom its revisions concern.
pub(super) struct Sync {
    /// Without it nothing is applied, and what others write is in force as it is.
    pub(super) config: Option<SyncConfig>,
    pub(super) client: kube::Client,
    pub(super) revision: watch::Sender<Revision>,
    pub(super) stores: Stores,
    pub(super) nudges: Nudges,
    pub(super) site: String,
    /// Of a site whose own object says what is granted only if somebody declared it.
    pub(super) first_grant: Option<FirstGrant>,
}

impl Sync {
    /// Applies what is served and makes it the revision in force, until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Result<(), SyncError> {
        let Self { config, client, revision, stores, nudges, site, first_grant } = self;
        let Some(config) = config else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let (sender, states) = watch::channel(RevisionState::default());
        tokio::select! {
            done = gitops::sync::run(config, client, sender, shutdown) => done,
            () = follow(states, revision, stores, nudges, site, first_grant) => Ok(()),
        }
    }
}

/// Follows git sync until it ends.
async fn follow(
    mut states: watch::Receiver<RevisionState>,
    revision: watch::Sender<Revision>,
    stores: Stores,
    nudges: Nudges,
    site: String,
    first_grant: Option<FirstGrant>,
) {
    loop {
        let state = states.borrow_and_update().clone();
        if !state.applying {
            let whole = async {
                let mut written = state.written.clone();
                if let Some(first_grant) = &first_grant
                    && let Some(version) = first_grant.give(&state).await
                {
                    written.note("Site", version);
                }
                // What the API has answered reaches the watches a moment later; half a revision must not be seen there either.
                whole(&stores, &written).await;
            };
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return } else { continue },
                () = whole => {}
            }
        }
        let before = revision.borrow().clone();
        let now = Revision {
            applying: state.applying,
            root: state.root.clone(),
            hold: state.export.clone().map(|export| Arc::new(export) as _),
            tree: state.export.clone().map(tree_of),
            declares: Some(declares(state.declared.clone())),
            status: (!state.revision.is_empty() || state.problem.is_some()).then(|| status(&state)),
        };
        let is_applied = !now.applying;
        let differs = before.applying || before.root != now.root;
        revision.send_replace(now);
        // Only now: whoever compiles from here on finds the revision, and where its sources lie.
        let ended = is_applied && state.turn.end();
        nudges.site(&site);
        if is_applied && (ended || differs) {
            for package in stores.packages.state() {
                nudges.package(&ObjectName::new(package.namespace().unwrap_or_default(), package.name_any()));
            }
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// Whether a revision declares a package.
fn declares(declared: Declared) -> Declares {
    Arc::new(move |package| declared.has(&ObjectKey::namespaced("Package", &package.namespace, &package.name)))
}

/// Git's own names for the directories of a commit.
fn tree_of(export: HeldExport) -> TreeOf {
    Arc::new(move |directory| export.0.tree(directory).map(str::to_owned))
}

/// Waits until the watches have delivered what was written, but not for ever: an object that was deleted since shows no version.
async fn whole(stores: &Stores, written: &Written) {
    let seen = || {
        let names = |key: &ObjectKey| ObjectName::new(key.namespace.clone().unwrap_or_default(), key.name.clone());
        stores.have_seen(&written.versions)
            && written.removed.iter().all(|key| stores.have_seen_removed(&key.kind, &names(key)))
    };
    let until = tokio::time::Instant::now() + WATCHES_MAX;
    while !seen() && tokio::time::Instant::now() < until {
        tokio::time::sleep(WATCHES_LOOK).await;
    }
}

fn status(state: &RevisionState) -> SyncStatus {
    let mut problems: Vec<String> = state.problem.iter().cloned().collect();
    problems.extend(state.diagnostics.iter().filter(|one| one.severity == Severity::Error).map(ToString::to_string));
    problems.truncate(LISTED_MAX);
    SyncStatus {
        revision: state.revision.clone(),
        objects: i64::try_from(state.objects).unwrap_or(i64::MAX),
        problems,
        held_revision: state.guard.as_ref().and_then(|guard| guard.revision.clone()),
        held_removals: state
            .guard
            .iter()
            .flat_map(|guard| guard.removals.iter().map(ToString::to_string))
            .take(LISTED_MAX)
            .collect(),
    }
}

/// Makes the site's own objects if nobody has declared them. Never touches them afterwards.
///
/// # Errors
/// If the Kubernetes API refuses.
pub(super) async fn ensure_own_objects(client: &kube::Client, name: &str) -> Result<(), kube::Error> {
    ensure::<Site>(client, name).await?;
    ensure_point(client, name).await
}

/// The object of a distribution point that joined, if nobody declared one.
///
/// # Errors
/// If the Kubernetes API refuses.
pub(super) async fn ensure_point(client: &kube::Client, name: &str) -> Result<(), kube::Error> {
    ensure::<DistributionPoint>(client, name).await
}

/// Makes an object without a field of its spec: these are not the server's.
async fn ensure<K: Resource<DynamicType = ()>>(client: &kube::Client, name: &str) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<K>(&());
    let object = DynamicObject::new(name, &resource).data(json!({"spec": {}}));
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    created(Api::<DynamicObject>::all_with(client.clone(), &resource).create(&params, &object).await.map(|_| ()))
}

/// Somebody else having made it is as good.
fn created(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other,
    }
}
