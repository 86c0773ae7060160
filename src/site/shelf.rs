//! Frees the room of content that no version needs any more. Which versions are needed is the database's word, how content
//! is removed is the library's; this only asks, again and again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _, api::ListParams, core::PartialObjectMeta};

use crate::{
    api::package::Package,
    clock,
    content::{Collected, ContentError, Digest, library::Library},
    db::{self, Database},
    model::identity::ObjectName,
    transport::kubernetes::in_words,
};

/// How often the library is looked through. Content is young for a day, and stays so long anyway.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3_600);

/// Why a look failed; the next one comes in an hour.
#[derive(Debug, thiserror::Error)]
enum ShelfError {
    /// The versions could not be read.
    #[error("the versions cannot be read")]
    Database(#[from] db::DbError),
    /// Which packages there are is not known.
    #[error("packages cannot be listed")]
    Packages(#[from] kube::Error),
    /// The library could not be read, or nothing can be removed from it.
    #[error("the library cannot be looked through")]
    Library(#[from] ContentError),
    /// The thread died.
    #[error("the look ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// Looks again and again, until the task is dropped.
pub(super) async fn keep(database: Database, library: Arc<Library>, client: Client) {
    loop {
        tokio::time::sleep(COLLECT_INTERVAL).await;
        // Asked anew: what a watch does not know, or cannot read, may be there all the same.
        let listed = Api::<Package>::all(client.clone()).list_metadata(&ListParams::default()).await;
        let collected = match listed {
            Ok(listed) => {
                let name = |package: &PartialObjectMeta<Package>| {
                    ObjectName::new(package.namespace().unwrap_or_default(), package.name_any())
                };
                collect(&database, library.clone(), listed.iter().map(name).collect(), clock::now()).await
            }
            Err(error) => Err(error.into()),
        };
        match collected {
            Ok(collected) if collected == Collected::default() => {}
            Ok(Collected { blobs, freed_bytes, .. }) => {
                tracing::info!(files = blobs, freed_bytes, "content that no version needs left the library");
            }
            Err(error) => {
                tracing::error!(error = in_words(&error), "the library was not tidied; tried again in an hour");
            }
        }
    }
}

/// One look: content of every version that is needed stays, also what a distribution point may have to be given again.
async fn collect(
    database: &Database,
    library: Arc<Library>,
    declared: HashSet<ObjectName>,
    now: Timestamp,
) -> Result<Collected, ShelfError> {
    database.write(move |tx| db::versions::forget_unneeded(tx, |package| declared.contains(package))).await?;
    let versions = database.read(db::versions::all).await?;
    let wanted: HashSet<Digest> = versions.iter().map(|version| version.content).collect();
    let look = move || {
        // Versions that came back from the reports of points after a loss may not be in this library.
        let keep = library.manifests()?.into_iter().filter(|digest| wanted.contains(digest)).collect();
        library.collect(&keep, now)
    };
    Ok(tokio::task::spawn_blocking(look).await??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{Entry, Manifest},
        db::versions::PackageKey,
    };

    fn bring(library: &Library, text: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        let size_bytes = text.len() as u64;
        let entry = Entry { path: "file".parse().unwrap(), size_bytes, executable: false, digest };
        let import = library.import().unwrap();
        import.add(&mut text.as_bytes(), "file").unwrap();
        import.commit(&Manifest::new(vec![entry]).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn content_goes_once_no_version_of_a_declared_package_needs_it() {
        let scratch = tempfile::tempdir().unwrap();
        let now = clock::now();
        let database = Database::open(&scratch.path().join("site.db"), now).unwrap();
        let library = Arc::new(Library::open(&scratch.path().join("library")).unwrap());
        let package = ObjectName::new("default", "editor");
        let key = PackageKey { site: "s1".into(), package: package.clone() };
        let contents: Vec<Digest> = ["one", "two", "three"].iter().map(|text| bring(&library, text)).collect();
        for content in contents.clone() {
            let key = key.clone();
            database.write(move |tx| db::versions::observe(tx, &key, &content, 3, 1, 0)).await.unwrap();
        }
        // A version that only a point's report remembers: its content is not here, and stops nothing.
        let lost = Digest::of(b"lost");
        database.write(move |tx| db::versions::restore(tx, &key, 9, &lost, 0)).await.unwrap();

        let later = now + jiff::SignedDuration::from_hours(25);
        let declared = HashSet::from([package]);
        assert_eq!(collect(&database, library.clone(), declared.clone(), now).await.unwrap(), Collected::default());
        let collected = collect(&database, library.clone(), declared, later).await.unwrap();
        assert_eq!((collected.manifests, collected.freed_bytes), (2, 6), "the current and the previous version stay");
        assert!(library.has_manifest(&contents[2]));
        let collected = collect(&database, library.clone(), HashSet::new(), later).await.unwrap();
        assert_eq!((collected.manifests, collected.freed_bytes), (1, 5), "the package is gone");
    }
}
