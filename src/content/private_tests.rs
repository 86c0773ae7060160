//! Directories by mode, link and owner: what is made, what is refused, and that what is refused stays as it was.

use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn opened(path: &Path, bits: u32) -> PathBuf {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
    path.to_owned()
}

#[test]
fn missing_directories_are_made_for_this_user_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let real = make(&scratch.path().join("a/../b/./c")).unwrap();
    assert_eq!(real, scratch.path().join("b/c"));
    assert_eq!((mode(&real), mode(real.parent().unwrap())), (0o700, 0o700));
    let wide = opened(&scratch.path().join("wide"), 0o775);
    assert_eq!(make(&wide).unwrap(), wide);
    assert_eq!(mode(&wide), 0o775, "only looked at so far");
    close(&wide).unwrap();
    assert_eq!(mode(&wide), 0o700);
}

#[test]
fn a_link_is_refused_and_its_target_stays_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let target = opened(&scratch.path().join("target"), 0o755);
    let link = scratch.path().join("link");
    symlink(&target, &link).unwrap();
    for path in [link.clone(), link.join(".")] {
        assert!(matches!(make(&path), Err(NotPrivate::Link(_))), "{path:?}");
    }
    assert!(close(&link).is_err());
    assert_eq!(mode(&target), 0o755);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    // On the way one of our own is followed, as /var/run is.
    assert_eq!(make(&link.join("state")).unwrap(), target.join("state"));
    let circle = scratch.path().join("circle");
    symlink(&circle, &circle).unwrap();
    assert!(matches!(make(&circle.join("state")), Err(NotPrivate::Link(_))));
}

#[test]
fn nothing_beneath_a_directory_where_everybody_may_rename() {
    let scratch = tempfile::tempdir().unwrap();
    let open = opened(&scratch.path().join("open"), 0o777);
    assert!(matches!(make(&open.join("state")), Err(NotPrivate::Open(path)) if path == open));
    assert!(!open.join("state").exists());
    let sticky = opened(&scratch.path().join("sticky"), 0o1777);
    make(&sticky.join("state")).unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    assert!(matches!(make(&scratch.path().join("file")), Err(NotPrivate::NoDirectory(_))));
}

#[test]
fn another_user_is_trusted_with_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let metadata = fs::metadata(scratch.path()).unwrap();
    let (own, other) = (metadata.uid(), metadata.uid() + 1);
    assert!(is_ours(&metadata) && is_trusted(&metadata, own));
    if own != 0 {
        assert!(!is_trusted(&metadata, other));
        assert!(matches!(walk(&scratch.path().join("x"), other), Err(NotPrivate::ForeignWay { .. })));
    }
}
