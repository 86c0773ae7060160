//! Tests of the library: what goes in comes out verified, and neither a crash, a flipped byte nor a collection loses or
//! invents anything.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::content::beneath::syncs;
use crate::content::{Collected, Entry};

fn entry(path: &str, bytes: &[u8]) -> Entry {
    Entry { path: path.parse().unwrap(), size_bytes: bytes.len() as u64, executable: false, digest: Digest::of(bytes) }
}

/// Brings the files in and returns their manifest.
fn bring(library: &Library, files: &[(&str, &[u8])]) -> Manifest {
    let manifest = Manifest::new(files.iter().map(|(path, bytes)| entry(path, bytes)).collect()).unwrap();
    let import = library.import().unwrap();
    for (path, mut bytes) in files.iter().copied() {
        import.add(&mut bytes, path).unwrap();
    }
    assert_eq!(import.commit(&manifest).unwrap(), manifest.digest());
    manifest
}

fn read(library: &Library, digest: &Digest) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    library.open_verified(digest).map_err(io::Error::other)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn flip(library: &Path, digest: &Digest) {
    let path = library.join(blob_path(digest));
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

#[test]
fn the_disk_is_waited_for_a_few_times_whatever_the_number_of_files() {
    const WAITS_MAX: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(&dir.path().join("library")).unwrap();
    let drive = dir.path().join("drive");
    fs::create_dir(&drive).unwrap();
    let publisher =
        crate::content::Publisher::open(vec![crate::content::DriveConfig { path: drive, reserve_bytes: 0 }]).unwrap();
    let names: Vec<String> = (0..1_500).map(|number| format!("d{}/f{number}", number % 40)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let before = syncs::so_far();
    let manifest = bring(&library, &files);
    let key = crate::content::VersionKey::new("default", "many", 1, manifest.digest()).unwrap();
    publisher.publish(&key, &manifest, &|entry, offset| library.open_from(&entry.digest, offset)).unwrap();
    let waits = syncs::so_far() - before;
    assert!((4..=WAITS_MAX).contains(&waits), "{waits} waits for {} files", files.len());
}

#[test]
fn one_instance_of_each_file_comes_back_verified() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let large = vec![5; 3 << 20];
    let manifest =
        bring(&library, &[("a", b"same"), ("b/c", b"same"), ("empty", b""), ("large", &large), ("large2", &large)]);
    assert_eq!(library.manifest(&manifest.digest()).unwrap(), manifest);
    assert!(library.missing(&manifest).is_empty());
    assert_eq!(read(&library, &Digest::of(b"same")).unwrap(), b"same");
    assert_eq!(read(&library, &Digest::of(b"")).unwrap(), b"");
    assert!(read(&library, &Digest::of(&large)).unwrap() == large);
    let blobs: Vec<_> =
        (0..=255u8).flat_map(|n| fs::read_dir(dir.path().join(format!("blobs/{n:02x}"))).unwrap()).collect();
    assert_eq!(blobs.len(), 3);
    for blob in blobs {
        let metadata = blob.unwrap().metadata().unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (1, 0o400));
    }
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    assert!(matches!(Library::open(dir.path()), Err(ContentError::InUse(_))));
}

#[test]
fn bringing_the_same_again_writes_no_blob() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let large = vec![5; 1 << 20];
    bring(&library, &[("a", b"one"), ("large", &large)]);
    let inode = |bytes: &[u8]| fs::metadata(dir.path().join(blob_path(&Digest::of(bytes)))).unwrap().ino();
    let before = (inode(b"one"), inode(&large));
    bring(&library, &[("b", b"one"), ("large", &large), ("more", b"two")]);
    assert_eq!(before, (inode(b"one"), inode(&large)));
}

#[test]
fn a_manifest_never_comes_before_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let manifest = Manifest::new(vec![entry("a", b"a"), entry("b", b"b")]).unwrap();
    let import = library.import().unwrap();
    import.add(&mut &b"a"[..], "a").unwrap();
    assert!(matches!(import.commit(&manifest), Err(ContentError::Missing(digest)) if digest == Digest::of(b"b")));
    assert!(!library.has_manifest(&manifest.digest()));
    assert_eq!(library.missing(&manifest), [Digest::of(b"b")]);
}

#[test]
fn a_failed_or_dropped_import_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("cable"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let start = vec![1; 1 << 20];
    let import = library.import().unwrap();
    let error = import.add(&mut start.as_slice().chain(Broken), "bin/tool").unwrap_err();
    assert!(matches!(error, ContentError::Fetch { path, .. } if path == "bin/tool"));
    import.add(&mut &b"kept?"[..], "b").unwrap();
    drop(import);
    assert!(!library.has(&Digest::of(b"kept?")));
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_a_crash_left_goes_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(Library::open(dir.path()).unwrap());
    fs::create_dir_all(dir.path().join("tmp/old/deeper")).unwrap();
    fs::write(dir.path().join("tmp/old/deeper/blob"), "half").unwrap();
    let _library = Library::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_flipped_byte_is_met_quarantined_and_brought_anew() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let manifest = bring(&library, &[("a", b"good"), ("b", b"also good")]);
    let digest = Digest::of(b"good");
    flip(dir.path(), &digest);
    assert_eq!(read(&library, &digest).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(library.missing(&manifest), [digest]);
    assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1);
    bring(&library, &[("a", b"good"), ("b", b"also good")]);
    assert_eq!(read(&library, &digest).unwrap(), b"good");
    flip(dir.path(), &digest);
    assert!(!library.verify(&digest).unwrap());
    assert!(library.verify(&Digest::of(b"also good")).unwrap());
    assert!(matches!(library.verify(&digest), Err(ContentError::Missing(_))));
}

#[test]
fn a_damaged_manifest_is_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let digest = bring(&library, &[("a", b"good")]).digest();
    let path = dir.path().join(manifest_path(&digest));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"a\"", "\"z\"")).unwrap();
    assert!(matches!(library.manifest(&digest), Err(ContentError::Corrupt { .. })));
    assert!(!library.has_manifest(&digest));
}

#[test]
fn insert_takes_what_was_announced_only() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let digest = Digest::of(b"abc");
    assert!(matches!(library.insert(&mut &b"abd"[..], &digest, 3), Err(ContentError::Corrupt { .. })));
    assert!(matches!(library.insert(&mut &b"abcd"[..], &digest, 3), Err(ContentError::Fetch { .. })));
    assert!(!library.has(&digest) && !library.has(&Digest::of(b"abd")));
    library.insert(&mut &b"abc"[..], &digest, 3).unwrap();
    assert_eq!(read(&library, &digest).unwrap(), b"abc");
}

#[test]
fn collection_keeps_what_is_kept_and_what_is_young() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let first = bring(&library, &[("a", b"shared"), ("b", b"old")]);
    let second = bring(&library, &[("a", b"shared"), ("b", b"new")]);
    let keep = HashSet::from([second.digest()]);
    let now = crate::clock::now();
    assert_eq!(library.collect(&keep, now).unwrap(), Collected::default());
    assert!(library.missing(&first).is_empty());

    let later: Timestamp = now + SignedDuration::from_hours(25);
    let expected = Collected { manifests: 1, blobs: 1, freed_bytes: 3 };
    assert_eq!(library.collect(&keep, later).unwrap(), expected);
    assert_eq!(library.missing(&first), [Digest::of(b"old")]);
    assert!(library.missing(&second).is_empty() && !library.has_manifest(&first.digest()));

    let unknown = HashSet::from([Digest::of(b"a lost manifest")]);
    assert!(library.collect(&unknown, later).is_err());
    assert!(library.missing(&second).is_empty());
}

#[test]
fn threads_may_import_the_same_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    let files: Vec<(String, Vec<u8>)> =
        (0..50).map(|n| (format!("d{}/f{n}", n % 7), vec![n; usize::from(n) * 20_000])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bring(&library, &files));
        }
    });
    for (_, bytes) in files {
        assert!(library.verify(&Digest::of(bytes)).unwrap());
    }
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}
