//! All manifests of a directory tree: which objects it declares, where each stands, and what is wrong with the rest.
//! Reads files; does not validate against schemas (`validate`) and writes nothing anywhere.
//!
//! The rule of what is a manifest: every `*.yaml` and `*.yml` file of the tree, except beneath names that begin with a
//! dot and beneath directories that a Package of the tree names as its source. Of these files the documents of our own
//! API group count; others are reported as ignored, unless they look like ours with a slip.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

pub use super::classify::Loaded;
use super::{
    classify::{Classified, classify},
    diagnostic::{Diagnostic, Severity},
    document,
    kinds::{Kinds, ObjectKey},
    scan::Mentions,
    sources::SourceDirectories,
    tree::{EntryKind, ReadError, Tree},
};
use crate::content::digest::{Digest, Hasher};

/// Largest manifest file.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most objects one tree may declare: the embedded store holds about 19 KB an object in memory.
pub const MAX_OBJECTS: usize = 50_000;
/// Deepest directory; deeper ones are not read, and what was declared there is kept.
pub const MAX_DEPTH: usize = 32;
/// Most names looked at in one tree; beyond it the directory is not a tree of manifests.
pub const MAX_ENTRIES: usize = 1_000_000;

/// A file whose declarations cannot be known for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// The file, or a directory that could not be read, relative to the root.
    pub path: String,
    /// What its text seems to declare.
    pub mentions: Mentions,
}

/// Everything a tree declares.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// The objects that can be applied, by file and line.
    pub objects: Vec<Loaded>,
    /// Objects that are declared but cannot be applied as they stand; they count as present.
    pub faulty: BTreeSet<ObjectKey>,
    /// Files and directories whose objects count as present because nobody can say what they declare.
    pub unclear: Vec<Unclear>,
    /// What is wrong or ignored, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// SHA-256 over the names and bytes of all manifest files, in hex; equal trees have equal digests.
    pub digest: String,
}

impl Manifests {
    /// Whether the tree may declare an object that came from `file` when it was last seen.
    #[must_use]
    pub fn may_declare(&self, key: &ObjectKey, file: Option<&str>) -> bool {
        let beneath = |path: &str| {
            file.is_some_and(|file| {
                path.is_empty() || file == path || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        self.faulty.contains(key)
            || self.unclear.iter().any(|unclear| beneath(&unclear.path) || unclear.mentions.may_declare(key))
    }
}

/// Why a tree as a whole could not be read. Nothing may be concluded from such a tree, least of all that objects are
/// gone.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The root is missing or unreadable.
    #[error("the manifest directory {path} cannot be read; nothing is changed until it can")]
    Root {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than the limit.
    #[error("the tree declares more than {MAX_OBJECTS} objects; nothing of it is applied")]
    TooManyObjects,
    /// More than the limit.
    #[error("the tree has more than {MAX_ENTRIES} names outside package sources; point at the directory of manifests")]
    TooManyEntries,
}

/// Reads all manifests beneath `root`.
pub fn load(root: &Path, kinds: &Kinds) -> Result<Manifests, LoadError> {
    let unreadable = |source| LoadError::Root { path: root.display().to_string(), source };
    let tree = Tree::open(root).map_err(unreadable)?;
    tree.entries("").map_err(unreadable)?;
    let mut reading = Reading {
        tree,
        kinds,
        files: BTreeMap::new(),
        asides: Vec::new(),
        sources: SourceDirectories::default(),
        seen_entries: 0,
    };
    reading.read_all()?;
    reading.conclude()
}

/// What one file gave.
#[derive(Debug, Default)]
struct FileContent {
    digest: Option<Digest>,
    objects: Vec<Loaded>,
    faulty: Vec<ObjectKey>,
    unclear: Option<Mentions>,
    diagnostics: Vec<Diagnostic>,
}

struct Reading<'a> {
    tree: Tree,
    kinds: &'a Kinds,
    files: BTreeMap<String, FileContent>,
    /// Problems of paths that are no manifest files, and whether they hide what lies beneath.
    asides: Vec<(Diagnostic, bool)>,
    sources: SourceDirectories,
    seen_entries: usize,
}

impl Reading<'_> {
    /// Level by level, so that package sources named by manifests further up are not even listed.
    fn read_all(&mut self) -> Result<(), LoadError> {
        let mut level = vec![String::new()];
        for depth in 0.. {
            let mut below = Vec::new();
            for directory in
                level.iter().filter(|directory| !self.sources.cover(directory)).cloned().collect::<Vec<_>>()
            {
                if depth >= MAX_DEPTH {
                    self.aside(
                        &directory,
                        format!("lies more than {MAX_DEPTH} directories deep and is not read"),
                        true,
                    );
                } else {
                    below.extend(self.read_directory(&directory)?);
                }
            }
            self.note_sources(depth);
            if below.is_empty() {
                return Ok(());
            }
            level = below;
        }
        Ok(())
    }

    fn read_directory(&mut self, directory: &str) -> Result<Vec<String>, LoadError> {
        let entries = match self.tree.entries(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.aside(directory, format!("cannot be read: {error}; objects declared in it are kept"), true);
                return Ok(Vec::new());
            }
        };
        self.seen_entries += entries.len();
        if self.seen_entries > MAX_ENTRIES {
            return Err(LoadError::TooManyEntries);
        }
        let mut directories = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.name.starts_with('.')) {
            let path = if directory.is_empty() { entry.name.clone() } else { format!("{directory}/{}", entry.name) };
            let manifest = entry.name.ends_with(".yaml") || entry.name.ends_with(".yml");
            match entry.kind {
                _ if !entry.utf8 => self.aside(&path, "has a name that is not UTF-8 and is not read".to_owned(), false),
                EntryKind::Directory => directories.push(path),
                EntryKind::File if manifest => {
                    let content = read_file(&self.tree, &path, self.kinds);
                    self.files.insert(path, content);
                }
                EntryKind::Link(what) => {
                    self.aside(&path, format!("is {} and is not read: {}", what.describe(), what.remedy()), true)
                }
                EntryKind::Other if manifest => {
                    self.aside(&path, "is not a regular file and is not read".to_owned(), true)
                }
                EntryKind::File | EntryKind::Other => {}
            }
        }
        Ok(directories)
    }

    /// Takes note of the source directories that manifests of this depth declare. Shallow manifests come first, so
    /// that a manifest within package content has no say.
    fn note_sources(&mut self, depth: usize) {
        let in_use: Vec<String> = self.files.keys().filter(|file| !self.sources.cover(file)).cloned().collect();
        let mut mixed = Vec::new();
        for (file, content) in self.files.iter().filter(|(file, _)| file.matches('/').count() == depth) {
            if self.sources.cover(file) {
                continue;
            }
            for package in content.objects.iter().filter(|object| object.key.kind == "Package") {
                if let Err(refused) =
                    self.sources.declare(&package.key, &package.object, in_use.iter().map(String::as_str))
                {
                    let message = format!(
                        "the source directory {} holds the manifest {}: keep manifests outside package content",
                        refused.named(),
                        refused.manifest
                    );
                    mixed.push((file.clone(), package.diagnose(Severity::Error, "spec.source.directory", message)));
                }
            }
        }
        for (file, diagnostic) in mixed {
            if let Some(content) = self.files.get_mut(&file) {
                content.diagnostics.push(diagnostic);
            }
        }
    }

    fn aside(&mut self, path: &str, message: String, hides: bool) {
        self.asides.push((Diagnostic::of_file(Severity::Warning, path, message), hides));
    }

    fn conclude(self) -> Result<Manifests, LoadError> {
        let Self { files, asides, sources, .. } = self;
        let mut manifests = Manifests::default();
        let mut digest = Hasher::new();
        for (path, content) in files.into_iter().filter(|(path, _)| !sources.cover(path)) {
            digest.update(&(path.len() as u64).to_le_bytes());
            digest.update(path.as_bytes());
            digest.update(content.digest.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
            manifests.objects.extend(content.objects);
            manifests.faulty.extend(content.faulty);
            manifests.diagnostics.extend(content.diagnostics);
            manifests.unclear.extend(content.unclear.map(|mentions| Unclear { path, mentions }));
        }
        for (diagnostic, hides) in asides.into_iter().filter(|(aside, _)| !sources.cover(&aside.file)) {
            if hides {
                digest.update(diagnostic.file.as_bytes());
                manifests.unclear.push(Unclear { path: diagnostic.file.clone(), mentions: Mentions::default() });
            }
            manifests.diagnostics.push(diagnostic);
        }
        manifests.digest = digest.finish().hex();
        if manifests.objects.len() > MAX_OBJECTS {
            return Err(LoadError::TooManyObjects);
        }
        set_duplicates_aside(&mut manifests);
        manifests.diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Ok(manifests)
    }
}

fn read_file(tree: &Tree, path: &str, kinds: &Kinds) -> FileContent {
    let (bytes, problem) = match tree.read(path, MAX_FILE_BYTES) {
        Ok(bytes) => (bytes, None),
        Err(ReadError::TooLarge { head, .. }) => {
            (head, Some(format!("is larger than {MAX_FILE_BYTES} bytes: split it")))
        }
        Err(ReadError::Io(error)) => (Vec::new(), Some(format!("cannot be read: {error}"))),
        Err(error @ ReadError::NotAFile) => (Vec::new(), Some(error.to_string())),
    };
    let digest = Some(Digest::of(&bytes));
    let text = match String::from_utf8(bytes) {
        Ok(text) if problem.is_none() => text,
        bytes => {
            let text = bytes.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            let message = problem.unwrap_or_else(|| "is not UTF-8 text".to_owned());
            let diagnostics = vec![Diagnostic::of_file(Severity::Error, path, message)];
            return FileContent { digest, unclear: Some(Mentions::of(&text)), diagnostics, ..FileContent::default() };
        }
    };
    FileContent { digest, ..read_text(path, &text, kinds) }
}

/// A file that does not parse as a whole gives none of its objects: half of a file is not a revision of it.
fn read_text(path: &str, text: &str, kinds: &Kinds) -> FileContent {
    let mut content = FileContent::default();
    let (documents, malformed) = document::parse(text);
    if !malformed.is_empty() {
        let mentions = Mentions::of(text);
        let severity = if mentions.ours { Severity::Error } else { Severity::Warning };
        content.diagnostics = malformed
            .into_iter()
            .map(|bad| match bad.place {
                Some(place) => Diagnostic::at(severity, path, text, place, bad.message),
                None => Diagnostic::of_file(severity, path, bad.message),
            })
            .collect();
        content.unclear = Some(mentions);
        return content;
    }
    let shared: Arc<str> = text.into();
    for document in documents {
        match classify(document, path, &shared, kinds) {
            Classified::Object(loaded) => content.objects.push(*loaded),
            Classified::Faulty(key, diagnostics) => {
                content.faulty.push(key);
                content.diagnostics.extend(diagnostics);
            }
            Classified::Unnamed(diagnostic) => {
                content.unclear = Some(Mentions::of(text));
                content.diagnostics.push(diagnostic);
            }
            Classified::Foreign(diagnostic) => content.diagnostics.push(diagnostic),
        }
    }
    content
}

/// An object declared twice is applied from neither place: nobody can say which one is meant.
fn set_duplicates_aside(manifests: &mut Manifests) {
    let mut places: BTreeMap<&ObjectKey, Vec<&Loaded>> = BTreeMap::new();
    for object in &manifests.objects {
        places.entry(&object.key).or_default().push(object);
    }
    let mut found = Vec::new();
    for (key, declared) in places.into_iter().filter(|(_, declared)| declared.len() > 1) {
        for (index, object) in declared.iter().enumerate() {
            let other = declared[usize::from(index == 0)];
            let at = other.places.of("metadata.name");
            let message = format!("{key} is declared twice, also at {}:{}:{}", other.file, at.line, at.column);
            found.push(object.diagnose(Severity::Error, "metadata.name", message));
        }
        manifests.faulty.insert(key.clone());
    }
    manifests.diagnostics.extend(found);
    let faulty = &manifests.faulty;
    manifests.objects.retain(|object| !faulty.contains(&object.key));
}
