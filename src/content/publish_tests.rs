//! Tests of a distribution point's drives: versions appear whole, share only with their own kind, survive kills, and
//! are known from the disk alone.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::*;
use crate::content::drive::NO_WAYBILL_ON_DRIVE;
use crate::content::{Fault, FaultKind, Library};

type Files<'a> = &'a [(&'a str, &'a [u8])];

fn manifest(files: Files<'_>) -> Manifest {
    let entry = |(path, bytes): &(&str, &[u8])| Entry {
        path: path.parse().unwrap(),
        size_bytes: bytes.len() as u64,
        executable: path.ends_with(".sh"),
        digest: Digest::of(bytes),
    };
    Manifest::new(files.iter().map(entry).collect()).unwrap()
}

/// A library that holds `all`, and two drives.
struct Place {
    dir: tempfile::TempDir,
    library: Library,
    fetched: AtomicUsize,
}

impl Place {
    fn new(all: &[Files<'_>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(&dir.path().join("library")).unwrap();
        for files in all {
            let import = library.import().unwrap();
            for (path, mut bytes) in files.iter().copied() {
                import.add(&mut bytes, path).unwrap();
            }
            import.commit(&manifest(files)).unwrap();
        }
        for drive in ["c", "d"] {
            fs::create_dir(dir.path().join(drive)).unwrap();
        }
        Self { dir, library, fetched: AtomicUsize::new(0) }
    }

    fn open(&self, drives: &[&str]) -> Publisher {
        let config = |name: &&str| DriveConfig { path: self.dir.path().join(name), reserve_bytes: 0 };
        Publisher::open(drives.iter().map(config).collect()).unwrap()
    }

    fn fetch(&self, entry: &Entry, offset: u64) -> io::Result<Box<dyn Read>> {
        self.fetched.fetch_add(1, Relaxed);
        self.library.open_from(&entry.digest, offset)
    }

    fn publish(&self, publisher: &Publisher, version: u64, files: Files<'_>) -> Published {
        let manifest = manifest(files);
        publisher.publish(&key(version, files), &manifest, &|e, offset| self.fetch(e, offset)).unwrap()
    }

    fn repair(&self, publisher: &Publisher, version: u64, files: Files<'_>) -> Vec<(String, FaultKind)> {
        let faults = publisher.repair(&key(version, files), &|e, offset| self.fetch(e, offset)).unwrap();
        faults.into_iter().map(|fault| (fault.path.to_str().unwrap().to_owned(), fault.kind)).collect()
    }
}

fn key(version: u64, files: Files<'_>) -> VersionKey {
    VersionKey::new("default", "editor", version, manifest(files).digest()).unwrap()
}

fn verify(publisher: &Publisher, version: u64, files: Files<'_>) -> Vec<Fault> {
    publisher.verify(&key(version, files)).unwrap()
}

/// Changes a published file in place, as a broken disk would.
fn damage(path: &Path, bytes: &[u8]) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

const ONE: Files<'_> = &[("bin/run.sh", b"#!1"), ("data/same", b"unchanged"), ("old", b"old")];
const TWO: Files<'_> = &[("bin/run.sh", b"#!2"), ("data/moved", b"unchanged"), ("new", b"new")];

#[test]
fn a_version_appears_whole_private_and_known_from_the_disk() {
    let place = Place::new(&[ONE]);
    let publisher = place.open(&["c"]);
    let published = place.publish(&publisher, 7, ONE);
    let short = manifest(ONE).digest().short();
    assert_eq!(published.path, place.dir.path().join(format!("c/default/editor/7-{short}")));
    assert_eq!(published.size_bytes, 15);
    assert_eq!(verify(&publisher, 7, ONE), []);
    for gate in ["c/default", "c/default/editor"] {
        assert_eq!(fs::metadata(place.dir.path().join(gate)).unwrap().mode() & 0o777, 0o750);
    }
    for entry in fs::read_dir(published.path.join("data")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().nlink(), 1, "shares an inode with the library");
    }
    let fetched = place.fetched.load(Relaxed);
    assert_eq!(place.publish(&publisher, 7, ONE), published);
    assert_eq!(place.fetched.load(Relaxed), fetched, "published twice");
    drop(publisher);
    let publisher = place.open(&["c", "d"]);
    assert_eq!(publisher.list().unwrap(), [published]);
    assert_eq!(publisher.version(&key(7, ONE)).unwrap().1, manifest(ONE));
    assert!(matches!(publisher.verify(&key(8, ONE)), Err(ContentError::NotPublished(_))));
    assert!(publisher.remove(&key(7, ONE)).unwrap());
    assert!(!publisher.remove(&key(7, ONE)).unwrap());
    assert!(publisher.list().unwrap().is_empty() && !place.dir.path().join("c/default").exists());
}

#[test]
fn unchanged_files_are_links_and_every_fault_is_repaired_in_all_versions() {
    let place = Place::new(&[ONE, TWO]);
    let publisher = place.open(&["c"]);
    let one = place.publish(&publisher, 1, ONE).path;
    let before = place.fetched.load(Relaxed);
    let two = place.publish(&publisher, 2, TWO).path;
    assert_eq!(place.fetched.load(Relaxed), before + 2);
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(one.join("data/same")), inode(two.join("data/moved")));

    damage(&one.join("data/same"), b"unchangeD");
    let reader = fs::File::open(two.join("data/moved")).unwrap();
    assert_eq!(verify(&publisher, 1, ONE), [Fault { path: "data/same".into(), kind: FaultKind::Flipped }]);
    assert_eq!(verify(&publisher, 2, TWO).len(), 1);
    assert_eq!(place.repair(&publisher, 1, ONE), [("data/same".to_owned(), FaultKind::Flipped)]);
    assert_eq!((verify(&publisher, 1, ONE), verify(&publisher, 2, TWO)), (vec![], vec![]));
    assert_eq!(inode(one.join("data/same")), inode(two.join("data/moved")));
    assert_ne!(reader.metadata().unwrap().ino(), inode(two.join("data/moved")), "a reader's file was touched");

    damage(&two.join("new"), b"n");
    fs::remove_file(two.join("bin/run.sh")).unwrap();
    fs::write(two.join("bin/virus.sh"), b"!").unwrap();
    fs::create_dir_all(two.join("more/dirs")).unwrap();
    fs::set_permissions(two.join("data/moved"), fs::Permissions::from_mode(0o4777)).unwrap();
    let expected = [
        ("bin/run.sh", FaultKind::Missing),
        ("bin/virus.sh", FaultKind::Added),
        ("data/moved", FaultKind::WrongMode),
        ("more", FaultKind::Added),
        ("new", FaultKind::Truncated),
    ];
    assert_eq!(place.repair(&publisher, 2, TWO), expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!((verify(&publisher, 1, ONE), verify(&publisher, 2, TWO)), (vec![], vec![]));
    assert_eq!(place.repair(&publisher, 2, TWO), []);

    // Removing one leaves the other whole.
    publisher.remove(&key(1, ONE)).unwrap();
    assert_eq!(verify(&publisher, 2, TWO), []);
    assert_eq!(fs::read_dir(place.dir.path().join("c/.waybill/trash")).unwrap().count(), 0);
}

#[test]
fn stranger_damage_is_repaired_too() {
    let place = Place::new(&[ONE]);
    let publisher = place.open(&["c"]);
    let path = place.publish(&publisher, 1, ONE).path;
    fs::write(place.dir.path().join("secret"), "s").unwrap();
    let scenes: [&dyn Fn(); 6] = [
        &|| fs::remove_dir_all(path.join("data")).unwrap(),
        &|| fs::remove_dir_all(&path).unwrap(),
        &|| {
            fs::remove_file(path.join("old")).unwrap();
            std::os::unix::fs::symlink(place.dir.path().join("secret"), path.join("old")).unwrap();
        },
        &|| {
            fs::remove_file(path.join("old")).unwrap();
            fs::create_dir_all(path.join("old/deeper")).unwrap();
        },
        &|| {
            fs::remove_dir_all(path.join("data")).unwrap();
            fs::write(path.join("data"), "file").unwrap();
        },
        &|| damage(&path.join("old"), b"old and more"),
    ];
    for (number, scene) in scenes.iter().enumerate() {
        scene();
        assert_ne!(verify(&publisher, 1, ONE), [], "scene {number}");
        assert_ne!(place.repair(&publisher, 1, ONE), [], "scene {number}");
        assert_eq!(verify(&publisher, 1, ONE), [], "scene {number}");
    }
    assert_eq!(fs::read(place.dir.path().join("secret")).unwrap(), b"s");
    let old = "old".parse().unwrap();
    assert_eq!(publisher.verify_one(&key(1, ONE), &old).unwrap(), None);
    damage(&path.join("old"), b"Old");
    assert_eq!(publisher.verify_one(&key(1, ONE), &old).unwrap().unwrap().kind, FaultKind::Flipped);
}

#[test]
fn a_damaged_version_is_never_linked_from() {
    let place = Place::new(&[ONE, TWO]);
    let publisher = place.open(&["c"]);
    let one = place.publish(&publisher, 1, ONE).path;
    damage(&one.join("data/same"), b"unchangeD");
    place.publish(&publisher, 2, TWO);
    assert_eq!(verify(&publisher, 2, TWO), []);
    assert_eq!(verify(&publisher, 1, ONE).len(), 1);
}

#[test]
fn a_lost_or_damaged_manifest_makes_an_orphan_that_publishing_adopts() {
    let place = Place::new(&[ONE]);
    let publisher = place.open(&["c"]);
    let published = place.publish(&publisher, 1, ONE);
    let beside = published.path.with_extension("json");
    for wreck in [&|| fs::remove_file(&beside).unwrap() as _, &|| damage(&beside, b"{}")] as [&dyn Fn(); 2] {
        wreck();
        damage(&published.path.join("old"), b"bad");
        assert!(publisher.list().unwrap().is_empty());
        assert_eq!(publisher.orphans().unwrap(), std::slice::from_ref(&published.path));
        assert_eq!(place.publish(&publisher, 1, ONE), published);
        assert_eq!(verify(&publisher, 1, ONE), []);
        assert!(publisher.orphans().unwrap().is_empty());
    }
}

#[test]
fn drives_are_chosen_by_room_marker_and_reserve() {
    let place = Place::new(&[ONE, TWO]);
    fs::write(place.dir.path().join("c").join(NO_WAYBILL_ON_DRIVE), "").unwrap();
    let publisher = place.open(&["c", "d"]);
    assert!(place.publish(&publisher, 1, ONE).path.starts_with(place.dir.path().join("d")));
    assert_eq!(publisher.room().unwrap().iter().map(|room| room.is_left_out).collect::<Vec<_>>(), [true, false]);
    fs::write(place.dir.path().join("d").join(NO_WAYBILL_ON_DRIVE), "").unwrap();
    let publish = |publisher: &Publisher| publisher.publish(&key(2, TWO), &manifest(TWO), &|e, at| place.fetch(e, at));
    assert!(matches!(publish(&publisher), Err(ContentError::NoDrive { .. })));
    assert_eq!(publisher.list().unwrap().len(), 1, "what is there stays");
    drop(publisher);

    for drive in ["c", "d"] {
        fs::remove_file(place.dir.path().join(drive).join(NO_WAYBILL_ON_DRIVE)).unwrap();
    }
    let config = |name: &str, reserve_bytes| DriveConfig { path: place.dir.path().join(name), reserve_bytes };
    let small = |bytes| Publisher::open(vec![config("c", bytes), config("d", 1 << 30), config("absent", 0)]).unwrap();
    let publisher = small(u64::MAX);
    assert_eq!(publisher.unusable().len(), 1);
    assert!(publish(&publisher).unwrap().path.starts_with(place.dir.path().join("d")));
    assert!(matches!(Publisher::open(vec![config("absent", 0)]), Err(ContentError::Io { .. })));
    assert!(matches!(Publisher::open(vec![config("c", 0)]), Err(ContentError::InUse(_))));
}

#[test]
fn names_cannot_leave_the_drive_and_strangers_files_are_left_alone() {
    let digest = Digest::of(b"");
    for (namespace, package) in [("..", "a"), ("a", ".."), ("a/b", "c"), (".waybill", "x"), ("", "a"), ("a", "")] {
        assert!(matches!(VersionKey::new(namespace, package, 1, digest), Err(ContentError::Name(_))));
    }
    let place = Place::new(&[ONE]);
    let foreign = place.dir.path().join("c/photos/2024");
    fs::create_dir_all(foreign.join("album")).unwrap();
    fs::write(foreign.join("index.json"), "{}").unwrap();
    let publisher = place.open(&["c"]);
    place.publish(&publisher, 1, ONE);
    publisher.remove(&key(1, ONE)).unwrap();
    assert!(publisher.orphans().unwrap().is_empty());
    assert!(foreign.join("index.json").exists() && foreign.join("album").exists());
}

#[test]
fn a_two_gib_sparse_file_stays_sparse_from_source_to_drive() {
    let place = Place::new(&[]);
    let source = place.dir.path().join("disk image");
    let file = fs::File::create(&source).unwrap();
    file.set_len(2 << 30).unwrap();
    file.write_all_at(b"boot", 1 << 30).unwrap();
    let import = place.library.import().unwrap();
    let (digest, size_bytes) = import.add(&mut fs::File::open(&source).unwrap(), "image").unwrap();
    let entry = Entry { path: "image".parse().unwrap(), size_bytes, executable: false, digest };
    let manifest = Manifest::new(vec![entry]).unwrap();
    import.commit(&manifest).unwrap();
    let publisher = place.open(&["c"]);
    let key = VersionKey::new("default", "image", 1, manifest.digest()).unwrap();
    let published = publisher.publish(&key, &manifest, &|e, at| place.fetch(e, at)).unwrap();
    let metadata = fs::metadata(published.path.join("image")).unwrap();
    assert_eq!(metadata.len(), 2 << 30);
    assert!(metadata.blocks() * 512 < 16 << 20, "{} blocks", metadata.blocks());
    let mut boot = [0; 4];
    fs::File::open(published.path.join("image")).unwrap().read_exact_at(&mut boot, 1 << 30).unwrap();
    assert_eq!(&boot, b"boot");
}

#[test]
fn a_blob_that_is_wrong_in_the_library_is_never_published() {
    let place = Place::new(&[ONE]);
    let digest = Digest::of(b"old");
    let hex = digest.hex();
    damage(&place.dir.path().join(format!("library/blobs/{}/{hex}", &hex[..2])), b"bad");
    let publisher = place.open(&["c"]);
    let published = publisher.publish(&key(1, ONE), &manifest(ONE), &|e, at| place.fetch(e, at));
    assert!(matches!(published, Err(ContentError::Corrupt { expected, .. }) if expected == digest));
    assert!(publisher.list().unwrap().is_empty());
    assert!(!place.library.verify(&digest).unwrap());
    assert_eq!(place.library.missing(&manifest(ONE)), [digest]);
}

const MANY: usize = 120;

fn many() -> Vec<(String, Vec<u8>)> {
    (0..MANY).map(|n| (format!("d{}/f{n}", n % 5), vec![n as u8; 1 + n * 3_000])).collect()
}

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect()
}

/// The child of the test below: publishes slowly into the drive of its working directory. Without one it does nothing.
#[test]
fn child_publishes() {
    let Ok(drive) = std::env::current_dir().map(|dir| dir.join("crash-test-drive")) else { return };
    if !drive.is_dir() {
        return;
    }
    let (files, publisher) = (many(), Publisher::open(vec![DriveConfig { path: drive, reserve_bytes: 0 }]).unwrap());
    let files = borrowed(&files);
    let fetch = |entry: &Entry, offset: u64| {
        std::thread::sleep(Duration::from_millis(2));
        let bytes = files.iter().find(|(path, _)| *path == entry.path.as_str()).unwrap().1;
        Ok(Box::new(io::Cursor::new(bytes[offset as usize..].to_vec())) as Box<dyn Read>)
    };
    publisher.publish(&key(1, &files), &manifest(&files), &fetch).unwrap();
}

#[test]
fn killed_at_any_moment_a_drive_holds_whole_versions_only() {
    let place = tempfile::tempdir().unwrap();
    let drive = place.path().join("crash-test-drive");
    let files = many();
    let files = borrowed(&files);
    let arguments = ["--exact", "content::publish::tests::child_publishes"];
    for round in 0..8u64 {
        let _ = fs::remove_dir_all(&drive);
        fs::create_dir(&drive).unwrap();
        let mut kills = 0;
        loop {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(arguments)
                .current_dir(&place)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(40 + 37 * round + 60 * kills));
            let ended = child.try_wait().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let publisher = Publisher::open(vec![DriveConfig { path: drive.clone(), reserve_bytes: 0 }]).unwrap();
            assert!(publisher.orphans().unwrap().is_empty());
            let list = publisher.list().unwrap();
            if list.is_empty() {
                assert!(ended.is_none_or(|status| !status.success()), "ended without publishing");
                kills += 1;
                continue;
            }
            assert_eq!(list[0].key, key(1, &files));
            assert_eq!(verify(&publisher, 1, &files), []);
            break;
        }
        assert!(kills > 0 || round > 3, "the child was never killed");
    }
}
