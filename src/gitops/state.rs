//! Where a sync stands, as the rest of the site sees it. Does not change anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    diagnostic::{Diagnostic, Severity},
    export::Export,
    kinds::ObjectKey,
    ledger::Owned,
    live::LiveObject,
    load::Manifests,
    plan_sync::Guard,
    turn::Turn,
};

/// Most diagnostics published; the rest is counted in the last one.
pub const MAX_DIAGNOSTICS: usize = 1_000;

/// Where a sync stands. Package records may be compiled only while `applying` is false, from sources beneath `root`.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionState {
    /// The revision that is applied, or being applied; empty before the first.
    pub revision: String,
    /// Whether objects of the revision are still being applied, or no revision was read yet.
    pub applying: bool,
    /// When the revision was applied.
    pub applied_at: Option<Timestamp>,
    /// Where the package sources of the applied revision lie.
    pub root: PathBuf,
    /// Keeps `root` in place in branch mode: hold a clone while reading from it.
    pub export: Option<HeldExport>,
    /// What the revision declares; known before the first write of it.
    pub declared: Declared,
    /// What applying wrote: who watches has seen the revision once it has seen these.
    pub written: Written,
    /// Nobody compiles from the objects until whoever has seen all of the revision ends this.
    pub turn: Turn,
    /// The Site that has the sync's name.
    pub own_site: OwnSite,
    /// How many objects the sync owns.
    pub objects: usize,
    /// What is wrong or ignored.
    pub diagnostics: Vec<Diagnostic>,
    /// Removals that are held back.
    pub guard: Option<Guard>,
    /// Why the source cannot be read at present. The applied revision stays in force.
    pub problem: Option<String>,
}

impl Default for RevisionState {
    /// Before the first revision: nothing may be compiled yet.
    fn default() -> Self {
        Self {
            revision: String::new(),
            applying: true,
            applied_at: None,
            root: PathBuf::new(),
            export: None,
            declared: Declared::default(),
            written: Written::default(),
            turn: Turn::default(),
            own_site: OwnSite::default(),
            objects: 0,
            diagnostics: Vec::new(),
            guard: None,
            problem: None,
        }
    }
}

/// What a revision declares and can be applied, so that it is made again whenever it is gone.
#[derive(Debug, Clone, Default)]
pub struct Declared(pub Arc<Manifests>);

impl Declared {
    /// Whether this object is among it.
    #[must_use]
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.0.objects.iter().any(|loaded| loaded.key == *key)
    }
}

impl PartialEq for Declared {
    /// A directory is read again and again; equal trees declare the same.
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

/// What is known of the Site that has the sync's own name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnSite {
    /// Whether the tree declares it, or may do so in a file that cannot be read, or declared it and its removal is held back.
    pub declared: bool,
    /// Whether the API holds it.
    pub exists: bool,
}

impl OwnSite {
    /// Looks for the Site of this name.
    pub(super) fn of(
        name: &str,
        manifests: &Manifests,
        ledger: &BTreeMap<ObjectKey, Owned>,
        live: &BTreeMap<ObjectKey, LiveObject>,
    ) -> Self {
        let key = ObjectKey::cluster("Site", name);
        let object = live.get(&key);
        let file = ledger.get(&key).map(|owned| owned.file.as_str());
        let declared = manifests.objects.iter().any(|loaded| loaded.key == key) || manifests.may_declare(&key, file);
        let labelled = object.is_some_and(|object| object.sync.as_deref() == Some(name));
        Self { declared: declared || labelled, exists: object.is_some() }
    }
}

/// What a revision's writes left in the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The highest resourceVersion by kind. A watch tells of one kind in order, so that this one says it of all.
    pub versions: BTreeMap<String, u64>,
    /// The objects that were deleted.
    pub removed: BTreeSet<ObjectKey>,
}

impl Written {
    /// Notes a write that gave an object this resourceVersion.
    pub fn note(&mut self, kind: &str, version: u64) {
        let newest = self.versions.entry(kind.to_owned()).or_default();
        *newest = version.max(*newest);
    }
}

/// A commit's directory that stays while this is held.
#[derive(Debug, Clone)]
pub struct HeldExport(pub Arc<Export>);

impl PartialEq for HeldExport {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Errors first, then by place; at most [`MAX_DIAGNOSTICS`].
pub(crate) fn bounded(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| {
        let place = |d: &Diagnostic| (std::cmp::Reverse(d.severity), d.file.clone(), d.line, d.column);
        place(a).cmp(&place(b))
    });
    let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    diagnostics.truncate(MAX_DIAGNOSTICS);
    if more > 0 {
        diagnostics.push(Diagnostic::of_file(Severity::Note, "", format!("{more} more are not shown")));
    }
    diagnostics
}
