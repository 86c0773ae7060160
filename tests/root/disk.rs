//! File systems that fill up or lie in the way: mounted for the test, unmounted after it, also after a failed one.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::FileType;
use rustix::mount::{MountFlags, UnmountFlags};
use waybill::content::beneath::Dir;
use waybill::content::{ContentError, Digest, DriveConfig, Entry, Library, Manifest, Publisher, VersionKey};
use waybill::source::{SnapshotError, Why, snapshot};

use crate::require;

/// A file system in memory, of so many MiB.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path, size_mib: u64) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = std::ffi::CString::new(format!("size={size_mib}m")).unwrap();
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Bytes without a block of zeros, which would take no room.
fn noise(mib: usize, seed: u8) -> Vec<u8> {
    (0..mib << 20).map(|n| (n >> 8) as u8 ^ seed | 1).collect()
}

fn content(files: &[(&str, &[u8])]) -> Manifest {
    let entry = |(path, bytes): &(&str, &[u8])| Entry {
        path: path.parse().unwrap(),
        size_bytes: bytes.len() as u64,
        executable: false,
        digest: Digest::of(bytes),
    };
    Manifest::new(files.iter().map(entry).collect()).unwrap()
}

fn used_files(path: &Path) -> usize {
    let below = |entry: fs::DirEntry| if entry.path().is_dir() { used_files(&entry.path()) } else { 1 };
    fs::read_dir(path).unwrap().map(|entry| below(entry.unwrap())).sum()
}

#[test]
fn a_drive_that_fills_in_mid_copy_is_emptied_and_the_next_best_is_taken() {
    if !require::root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (large, small) = (place.path().join("large"), place.path().join("small"));
    let (_large, _small) = (Small::mount(&large, 32), Small::mount(&small, 24));
    let (first, second) = (noise(5, 1), noise(5, 2));
    let manifest = content(&[("first", &first), ("second", &second)]);
    let key = VersionKey::new("default", "big", 1, manifest.digest()).unwrap();
    let filler = AtomicBool::new(false);
    let fetch = |entry: &Entry, offset: u64| {
        // Somebody else takes what was free when the drive was chosen.
        if !filler.swap(true, Relaxed) {
            let _ = fs::write(large.join("somebody else's"), noise(32, 9));
        }
        let bytes = if entry.path.as_str() == "first" { &first } else { &second };
        Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())) as Box<dyn Read>)
    };
    let drive = |path: &Path| DriveConfig { path: path.to_owned(), reserve_bytes: 0 };
    let publisher = Publisher::open(vec![drive(&large), drive(&small)]).unwrap();
    let published = publisher.publish(&key, &manifest, &fetch).unwrap();
    assert!(published.path.starts_with(&small));
    assert_eq!(publisher.verify(&key).unwrap(), []);
    assert_eq!(used_files(&large.join(".waybill")), 1, "only the lock stays on the full drive");

    publisher.remove(&key).unwrap();
    fs::write(small.join("also somebody's"), noise(20, 8)).unwrap();
    let refused = publisher.publish(&key, &manifest, &fetch).unwrap_err();
    assert!(matches!(refused, ContentError::NoDrive { .. }), "{refused}");
    assert_eq!(used_files(&small.join(".waybill")), 1);
    // When there is room again it goes through by itself.
    fs::remove_file(small.join("also somebody's")).unwrap();
    publisher.publish(&key, &manifest, &fetch).unwrap();
}

#[test]
fn a_full_library_says_so_keeps_what_it_has_and_nothing_of_the_rest() {
    if !require::root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("library");
    let _small = Small::mount(&path, 16);
    let library = Library::open(&path).unwrap();
    let kept = noise(4, 1);
    let manifest = content(&[("kept", &kept)]);
    let import = library.import().unwrap();
    import.add(&mut kept.as_slice(), "kept").unwrap();
    import.commit(&manifest).unwrap();
    let before = used_files(&path);

    let import = library.import().unwrap();
    import.add(&mut noise(8, 2).as_slice(), "fits").unwrap();
    let full = import.add(&mut noise(8, 3).as_slice(), "does not").unwrap_err();
    assert!(matches!(full, ContentError::Full(_)), "{full}");
    drop(import);
    assert_eq!(used_files(&path), before);
    assert!(library.verify(&Digest::of(&kept)).unwrap());

    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), noise(20, 4)).unwrap();
    let error = snapshot(Dir::open(&source).unwrap(), &library, None).unwrap_err();
    assert_eq!(error.reason(), waybill::model::reason::Reason::DiskFull);
    assert_eq!(used_files(&path), before);
}

#[test]
fn an_agents_cache_that_fills_holds_nothing_of_the_package() {
    if !require::root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let _small = Small::mount(place.path(), 8);
    let bytes = noise(12, 1);
    let fetch = |_: &Entry, offset: u64| -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())))
    };
    let full = waybill::content::tree::install(place.path(), "p", &content(&[("a", &bytes)]), &fetch).unwrap_err();
    assert!(matches!(full, ContentError::Full(_)), "{full}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn devices_and_mount_points_in_a_source_are_refused_by_name() {
    if !require::root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let library = Library::open(&place.path().join("library")).unwrap();
    let source = place.path().join("source");
    let _mount = Small::mount(&source.join("mounted"), 1);
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, source.join("null"), FileType::CharacterDevice, 0o666.into(), device).unwrap();
    let Err(SnapshotError::Refused(refused)) = snapshot(Dir::open(&source).unwrap(), &library, None) else {
        panic!("accepted");
    };
    let found: Vec<_> = refused.iter().map(|refusal| (refusal.path.as_str(), &refusal.why)).collect();
    assert_eq!(found, [("mounted", &Why::MountPoint), ("null", &Why::Device)]);
}
