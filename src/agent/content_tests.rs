//! What stays in the cache and what goes.

use super::*;

/// Puts a tree with one file of this text into the cache.
fn add(cache: &Cache, text: &'static str) -> Digest {
    let entry = Entry {
        path: "file".parse().unwrap(),
        size_bytes: text.len() as u64,
        executable: false,
        digest: Digest::of(text.as_bytes()),
    };
    let manifest = Manifest::new(vec![entry]).unwrap();
    let content = manifest.digest();
    fs::write(manifest_path(&cache.directory, &content), manifest.encode().unwrap()).unwrap();
    let open = |_: &Entry, _: u64| Ok(Box::new(text.as_bytes()) as Box<dyn Read>);
    tree::install(&cache.directory, &content.hex(), &manifest, &open).unwrap();
    content
}

#[tokio::test]
async fn the_oldest_go_until_the_rest_fits_and_what_is_needed_stays() {
    crate::transport::install_crypto();
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path(), reqwest::Client::new()).unwrap();
    let (old, needed, new) = (add(&cache, "0123456789"), add(&cache, "abcdefghij"), add(&cache, "ABCDEFGHIJ"));
    for (content, second) in [(needed, 1), (old, 2), (new, 3)] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
        fs::File::open(tree_path(&cache.directory, &content)).unwrap().set_modified(time).unwrap();
    }
    let staging = cache.directory.join(format!("{STAGING}{}", Digest::of(b"gone").hex()));
    let aside = cache.directory.join(format!("{OLD}1"));
    fs::create_dir(&staging).unwrap();
    fs::create_dir(&aside).unwrap();

    cache.trim(30, &[needed], false).unwrap();
    assert!(!staging.exists() && aside.exists(), "something may still run in what was moved aside");
    assert!(cache.find(&old).await.is_some());
    cache.trim(20, &[needed], true).unwrap();
    assert!(!aside.exists());
    assert!(cache.find(&old).await.is_none());
    assert!(cache.find(&needed).await.is_some() && cache.find(&new).await.is_some());
    cache.trim(0, &[needed], true).unwrap();
    assert!(cache.find(&needed).await.is_some() && cache.find(&new).await.is_none());
    assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 2, "a tree and its manifest");
}

#[tokio::test]
async fn damaged_content_is_not_found() {
    use std::os::unix::fs::PermissionsExt;
    crate::transport::install_crypto();
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path(), reqwest::Client::new()).unwrap();
    let content = add(&cache, "0123456789");
    assert!(cache.find(&content).await.is_some());
    let file = tree_path(&cache.directory, &content).join("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, "012345678X").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    assert!(cache.find(&content).await.is_none());
}
