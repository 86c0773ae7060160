//! Tests of building a tree: whole or not at all, resumed where it stopped, nothing but the manifest's bytes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;
use crate::content::verify::verify_tree;

/// The files of a content, and how many of their bytes were fetched.
struct Origin {
    files: Vec<(String, Vec<u8>)>,
    manifest: Manifest,
    fetched_bytes: AtomicU64,
}

impl Origin {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let entry = |(path, bytes): &(&str, &[u8])| Entry {
            path: path.parse().unwrap(),
            size_bytes: bytes.len() as u64,
            executable: path.ends_with(".sh"),
            digest: Digest::of(bytes),
        };
        Self {
            manifest: Manifest::new(files.iter().map(entry).collect()).unwrap(),
            files: files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect(),
            fetched_bytes: AtomicU64::new(0),
        }
    }

    /// The bytes of the entry, `limit` of them at the most.
    fn open(&self, entry: &Entry, offset: u64, limit: u64) -> Box<dyn Read> {
        let (_, bytes) = self.files.iter().find(|(path, _)| path == entry.path.as_str()).unwrap();
        let rest = &bytes[offset as usize..];
        let rest = &rest[..rest.len().min(limit as usize)];
        self.fetched_bytes.fetch_add(rest.len() as u64, Relaxed);
        Box::new(io::Cursor::new(rest.to_vec()))
    }

    fn install(&self, root: &Path, limit: u64) -> Result<PathBuf, ContentError> {
        install(root, "tree", &self.manifest, &|entry, offset| Ok(self.open(entry, offset, limit)))
    }
}

#[test]
fn the_tree_is_the_manifests_with_its_modes() {
    let root = tempfile::tempdir().unwrap();
    let large = vec![3; 1 << 20];
    let origin = Origin::new(&[
        ("bin/set up.sh", b"#!"),
        ("é/日本", b"x"),
        ("empty", b""),
        ("a/b/large", &large),
        ("twin", &large),
    ]);
    let path = origin.install(root.path(), u64::MAX).unwrap();
    assert_eq!(path, root.path().join("tree"));
    assert_eq!(verify_tree(&path, &origin.manifest).unwrap(), []);
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o7777;
    assert_eq!([mode("bin/set up.sh"), mode("empty"), mode("a/b"), mode("")], [0o555, 0o444, 0o755, 0o755]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(path.join("twin")).unwrap().nlink(), 1);
    assert!(matches!(origin.install(root.path(), u64::MAX), Err(ContentError::Io { .. })), "never into what is there");
    assert_eq!(verify_tree(&path, &origin.manifest).unwrap(), []);
}

#[test]
fn an_empty_package_is_an_empty_directory() {
    let root = tempfile::tempdir().unwrap();
    let origin = Origin::new(&[]);
    let path = origin.install(root.path(), 0).unwrap();
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
}

#[test]
fn an_interrupted_fetch_continues_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    let origin = Origin::new(&[("small", b"s"), ("large", &large)]);
    let error = origin.install(root.path(), 3_000_000).unwrap_err();
    assert!(matches!(error, ContentError::Fetch { ref path, .. } if path == "large"), "{error}");
    assert!(!root.path().join("tree").exists());
    let first = origin.fetched_bytes.load(Relaxed);
    assert!(first >= 3_000_000);
    let path = origin.install(root.path(), u64::MAX).unwrap();
    assert_eq!(verify_tree(&path, &origin.manifest).unwrap(), []);
    assert!(origin.fetched_bytes.load(Relaxed) <= large.len() as u64 + 2, "bytes were fetched twice");
}

#[test]
fn a_wrong_beginning_is_fetched_anew_once_and_a_wrong_source_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let large = vec![5; 1_000_000];
    let origin = Origin::new(&[("large", &large)]);
    let staged = root.path().join(".staging-tree");
    fs::create_dir(&staged).unwrap();
    for wrong in [vec![6; 500_000], vec![6; 1_000_000], vec![6; 2_000_000]] {
        fs::write(staged.join("large"), wrong).unwrap();
        fs::set_permissions(staged.join("large"), fs::Permissions::from_mode(0o600)).unwrap();
        let path = origin.install(root.path(), u64::MAX).unwrap();
        assert_eq!(verify_tree(&path, &origin.manifest).unwrap(), []);
        fs::rename(&path, &staged).unwrap();
        fs::remove_file(staged.join("large")).unwrap();
    }
    let lie = |bytes: Vec<u8>| {
        install(root.path(), "tree", &origin.manifest, &move |_, _| Ok(Box::new(io::Cursor::new(bytes.clone()))))
    };
    assert!(matches!(lie(vec![6; 1_000_000]), Err(ContentError::Corrupt { .. })));
    assert!(matches!(lie(vec![5; 1_000_001]), Err(ContentError::Fetch { .. })));
    assert!(!root.path().join("tree").exists());
    origin.install(root.path(), u64::MAX).unwrap();
}

#[test]
fn what_lies_in_the_way_is_replaced_and_never_written_through() {
    let root = tempfile::tempdir().unwrap();
    let outside = root.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    let origin = Origin::new(&[("link", b"aa"), ("shared", b"bb"), ("dir", b"cc"), ("d/e", b"dd")]);
    let staged = root.path().join(".staging-tree");
    fs::create_dir(&staged).unwrap();
    symlink(&outside, staged.join("link")).unwrap();
    fs::hard_link(&outside, staged.join("shared")).unwrap();
    fs::create_dir(staged.join("dir")).unwrap();
    let path = origin.install(root.path(), u64::MAX).unwrap();
    assert_eq!(verify_tree(&path, &origin.manifest).unwrap(), []);
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    // A link in the place of a directory is not followed.
    fs::rename(&path, &staged).unwrap();
    fs::remove_dir_all(staged.join("d")).unwrap();
    symlink(root.path(), staged.join("d")).unwrap();
    assert!(origin.install(root.path(), u64::MAX).is_err());
    assert!(!root.path().join("e").exists());
}
