//! Tests of the directory source: what it brings, and what it refuses by name.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::content::path::PathError;

#[path = "moving_tests.rs"]
mod moving;

/// Several ticks of any clock a local file system has.
const SHORT: Duration = Duration::from_millis(20);

struct Place {
    dir: tempfile::TempDir,
    library: Library,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("source")).unwrap();
        let library = Library::open(&dir.path().join("library")).unwrap();
        Self { dir, library }
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        snapshot_settling(Dir::open(&self.source()).unwrap(), &self.library, None, SHORT)
    }
}

fn lines(manifest: &Manifest) -> Vec<String> {
    let line = |e: &Entry| format!("{} {} {}", e.path, e.size_bytes, if e.executable { "x" } else { "-" });
    manifest.entries().iter().map(line).collect()
}

#[test]
fn files_are_brought_with_what_counts_and_nothing_else() {
    let place = Place::new();
    place.write("bin/setup.sh", b"#!/bin/sh\n");
    place.write("read me é.txt", b"hello");
    place.write("empty", b"");
    place.write("deep/er/large", &vec![9; 1 << 20]);
    fs::create_dir_all(place.source().join("void/inner")).unwrap();
    fs::set_permissions(place.source().join("bin/setup.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let first = place.snapshot().unwrap();
    assert_eq!(
        lines(&first.manifest),
        ["bin/setup.sh 10 x", "deep/er/large 1048576 -", "empty 0 -", "read me é.txt 5 -"]
    );
    assert_eq!(first.empty_directories.iter().map(SafePath::as_str).collect::<Vec<_>>(), ["void/inner"]);
    assert!(place.library.missing(&first.manifest).is_empty());
    assert!(place.library.has_manifest(&first.manifest.digest()));

    // The time, the group's and the world's permissions, and a setuid bit change nothing.
    fs::set_permissions(place.source().join("bin/setup.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(place.source().join("empty"), fs::Permissions::from_mode(0o666)).unwrap();
    place.write("read me é.txt", b"hello");
    assert_eq!(place.snapshot().unwrap().manifest, first.manifest);
    // The owner's executable bit and a byte do.
    fs::set_permissions(place.source().join("empty"), fs::Permissions::from_mode(0o744)).unwrap();
    assert_ne!(place.snapshot().unwrap().manifest, first.manifest);
    fs::set_permissions(place.source().join("empty"), fs::Permissions::from_mode(0o644)).unwrap();
    place.write("read me é.txt", b"hellO");
    assert_ne!(place.snapshot().unwrap().manifest, first.manifest);
}

#[test]
fn an_empty_source_and_ten_thousand_files_are_content() {
    let place = Place::new();
    assert_eq!(place.snapshot().unwrap().manifest, Manifest::new(vec![]).unwrap());
    for n in 0..10_000 {
        place.write(&format!("d{}/file {n}", n % 100), format!("{n}").as_bytes());
    }
    let snapshot = place.snapshot().unwrap();
    assert_eq!(snapshot.manifest.entries().len(), 10_000);
    assert!(place.library.missing(&snapshot.manifest).is_empty());
}

#[test]
fn a_young_tree_settles_first() {
    let place = Place::new();
    place.write("a", b"a");
    let begun = Instant::now();
    snapshot(Dir::open(&place.source()).unwrap(), &place.library, None).unwrap();
    assert!(begun.elapsed() >= SETTLE);
}

#[test]
fn what_is_known_is_not_written_again() {
    let place = Place::new();
    place.write("large", &vec![1; 4 << 20]);
    place.write("other", &vec![2; 4 << 20]);
    let first = place.snapshot().unwrap().manifest;
    let again = |previous| {
        snapshot_settling(Dir::open(&place.source()).unwrap(), &place.library, Some(previous), SHORT).unwrap().manifest
    };
    let stored = |manifest: &Manifest| {
        fs::metadata(place.dir.path().join(format!("library/manifests/{}.json", manifest.digest().hex()))).unwrap()
    };
    let before = stored(&first);
    assert_eq!(again(&first), first);
    assert_eq!(stored(&first).modified().unwrap(), before.modified().unwrap());
    // Same size, other bytes: the hint is not believed.
    place.write("other", &vec![3; 4 << 20]);
    let second = again(&first);
    assert_ne!(second, first);
    assert!(place.library.missing(&second).is_empty());
}

#[test]
fn what_cannot_be_distributed_is_named_and_never_opened() {
    let place = Place::new();
    let at = |name: &str| place.source().join(name);
    place.write("fine", b"f");
    fs::hard_link(at("fine"), place.dir.path().join("also linked from elsewhere")).unwrap();
    place.write("sub/fine too", b"f");
    fs::write(place.dir.path().join("secret"), "s").unwrap();
    symlink("../secret", at("link")).unwrap();
    symlink("nowhere", at("sub/dangling")).unwrap();
    symlink("sub", at("linkdir")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::write(place.source().join(std::ffi::OsString::from_vec(b"bad\xff".to_vec())), "").unwrap();
    for name in [
        "back\\slash",
        "co:lon",
        "dot.",
        "space ",
        "con.txt",
        "bell\x07",
        "cafe\u{301}",
        "README",
        "ReadMe",
        "straße",
        "STRASSE",
    ] {
        place.write(name, b"");
    }
    place.write("Dir/a", b"");
    place.write("dir/b", b"");
    fs::create_dir_all(at(&vec!["d"; 65].join("/"))).unwrap();
    let Err(error) = place.snapshot() else { panic!("accepted") };
    let message = error.to_string();
    let SnapshotError::Refused(refusals) = error else { panic!("{error}") };
    let mut found: Vec<(String, Why)> = refusals.into_iter().map(|r| (r.path, r.why)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let deep = vec!["d"; 65].join("/");
    let clash = |other: &str| Why::CaseClash(other.to_owned());
    let mut expected = vec![
        ("link", Why::Link(StandIn::SymbolicLink)),
        ("linkdir", Why::Link(StandIn::SymbolicLink)),
        ("sub/dangling", Why::Link(StandIn::SymbolicLink)),
        ("fifo", Why::Fifo),
        ("socket", Why::Socket),
        ("bad\u{fffd}", Why::NotUtf8),
        ("back\\slash", Why::Name(PathError::Character)),
        ("co:lon", Why::Name(PathError::Character)),
        ("bell\x07", Why::Name(PathError::Character)),
        ("dot.", Why::Name(PathError::TrailingDotOrSpace)),
        ("space ", Why::Name(PathError::TrailingDotOrSpace)),
        ("con.txt", Why::Name(PathError::DeviceName)),
        ("cafe\u{301}", Why::Name(PathError::NotComposed)),
        ("ReadMe", clash("README")),
        ("dir", clash("Dir")),
        ("straße", clash("STRASSE")),
        (&deep, Why::Name(PathError::TooDeep)),
    ];
    expected.sort_by(|a, b| a.0.cmp(b.0));
    assert_eq!(found, expected.into_iter().map(|(path, why)| (path.to_owned(), why)).collect::<Vec<_>>());
    assert!(message.contains("back\\\\slash") && message.ends_with("and 7 more"), "{message}");
    assert!(!place.library.has(&Digest::of(b"s")));
}

#[test]
fn a_sparse_giant_is_refused_before_it_is_read() {
    let place = Place::new();
    let giant = fs::File::create(place.source().join("giant")).unwrap();
    if giant.set_len(1 << 40).is_ok() {
        let error = place.snapshot().unwrap_err();
        assert!(matches!(error, SnapshotError::Content(ManifestError::TooMuchContent)), "{error}");
    }
}

#[test]
fn only_permitted_places_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["base/pkg/v1", "root/share", "root-not/x", "outside"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    symlink(at("outside"), at("base/link")).unwrap();
    fs::write(at("base/file"), "").unwrap();
    fs::create_dir(at("state")).unwrap();
    let guarded = Guarded::new(&at("state"));
    let open = |path: &str| open_directory(path, &at("base"), &[at("root")], &guarded).map(|dir| dir.path().to_owned());
    let absolute = |name: &str| at(name).to_str().unwrap().to_owned();
    assert_eq!(open("pkg/v1").unwrap(), at("base/pkg/v1"));
    assert_eq!(open("./pkg").unwrap(), at("base/pkg"));
    assert_eq!(open(&absolute("root/share")).unwrap(), at("root/share"));
    assert_eq!(open(&absolute("base/pkg")).unwrap(), at("base/pkg"));
    for path in [
        "../outside",
        "pkg/../../outside",
        "/etc",
        &absolute("outside"),
        &absolute("root-not/x"),
        &absolute("root/../outside"),
    ] {
        assert!(matches!(open(path), Err(SnapshotError::NotPermitted { .. })), "{path}");
    }
    for path in ["link", "link/x", "file", "missing"] {
        assert!(matches!(open(path), Err(SnapshotError::Unavailable { .. })), "{path}");
    }
}
