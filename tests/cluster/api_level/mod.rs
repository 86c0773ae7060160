//! The API level of the real Kubernetes: etcd and kube-apiserver (and, where it is there, the collector of
//! kube-controller-manager) in a scratch directory, on loopback, as whoever runs the tests. RBAC decides, client certificates
//! say who calls, admission is the default one, and every request stands in the audit log before it is answered. No node, so
//! nothing runs in it.

pub(crate) mod arguments;
pub(crate) mod audit;
mod certificates;
mod guardian;
mod kinds;
mod process;
mod start;
mod tools;
mod users;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use certificates::Authority;
pub(crate) use guardian::{AT_THE_END, Guardian};
pub(crate) use kinds::definitions;
pub(crate) use process::Process;
pub(crate) use users::{ADMIN, CONTROLLER_MANAGER, FRONT_PROXY, ROOT, SYNC, User, VIEWER};

/// A running API server with its store. It ends, with everything in its directory, when this is dropped or the process ends,
/// however that comes about.
pub(crate) struct RealApi {
    directory: PathBuf,
    authority: Authority,
    url: String,
    etcd_url: String,
    collects: bool,
    // Fields are dropped in order: what runs is reaped, then the guardian ends the rest and removes the directory.
    _processes: Vec<Process>,
    _guardian: Guardian,
}

impl RealApi {
    /// The one server that the tests of this binary share, started for the first who asks; a test keeps to names of its own.
    /// `None`, after saying so, where nobody asked for the cluster.
    ///
    /// # Panics
    /// If it was asked for and does not start.
    pub(crate) fn shared() -> Option<&'static RealApi> {
        static SHARED: OnceLock<Result<RealApi, String>> = OnceLock::new();
        if !crate::require::cluster() {
            return None;
        }
        let started = SHARED.get_or_init(|| {
            // A runtime of its own: whoever asks first may be inside one that ends with its test.
            std::thread::spawn(|| start::blocking(true))
                .join()
                .unwrap_or_else(|_| Err("starting it panicked".to_owned()))
        });
        Some(started.as_ref().unwrap_or_else(|error| panic!("the real API did not start: {error}")))
    }

    /// Another one, for a test that breaks it or that nobody may write beside: it has no collector.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn start() -> Option<RealApi> {
        Self::another(false)
    }

    /// As [`RealApi::start`], with the collector.
    pub(crate) fn start_collecting() -> Option<RealApi> {
        Self::another(true)
    }

    fn another(collects: bool) -> Option<RealApi> {
        crate::require::cluster().then(|| {
            let started = std::thread::spawn(move || start::blocking(collects)).join().unwrap();
            started.unwrap_or_else(|error| panic!("the real API did not start: {error}"))
        })
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its scratch directory, for files and processes that shall go with it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether owner references are followed and deleted namespaces emptied: with kube-controller-manager only.
    pub(crate) fn collects(&self) -> bool {
        self.collects
    }

    /// Makes the store forget all versions before the present one, as it does by itself every five minutes.
    pub(crate) async fn compact(&self) {
        start::compact(&self.etcd_url).await.unwrap();
    }
}
