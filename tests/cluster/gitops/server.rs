//! The server that a sync of these suites writes to: the shared real one. A sync owns all objects of its label in all namespaces,
//! so one test has it at a time, and finds it empty.

use std::{path::Path, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};
use waybill::{api, gitops::kinds::Kinds};

use crate::api_level::{ADMIN, RealApi, SYNC};

/// Longest wait until what the test before made is gone.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the suites put objects.
const NAMESPACES: [&str; 2] = ["default", "apps"];

/// The shared server, for the calling test alone as far as Waybill's kinds go.
pub(super) struct Server {
    pub(super) admin: Client,
    pub(super) sync: Client,
    _turn: MutexGuard<'static, ()>,
}

impl Server {
    /// `None` where nobody asked for the real server.
    pub(super) async fn start(_directory: &Path) -> Option<Server> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let real = RealApi::shared()?;
        let turn = TURN.lock().await;
        let (admin, sync) = (real.client(&ADMIN, "default").await, real.client(&SYNC, "default").await);
        empty(&admin).await;
        Some(Server { admin, sync, _turn: turn })
    }
}

/// Deletes every object of Waybill's kinds, and waits until they are gone.
async fn empty(admin: &Client) {
    let end = Instant::now() + LIMIT;
    for kind in Kinds::of(&api::crds()).in_order() {
        let places: Vec<Api<DynamicObject>> = match kind.namespaced {
            true => NAMESPACES.iter().map(|n| Api::namespaced_with(admin.clone(), n, &kind.resource)).collect(),
            false => vec![Api::all_with(admin.clone(), &kind.resource)],
        };
        for place in places {
            place.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
            while !place.list(&ListParams::default()).await.unwrap().items.is_empty() {
                assert!(Instant::now() < end, "objects of kind {} stay", kind.resource.kind);
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
