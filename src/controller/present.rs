//! One object as it is now, and not as a watch has it. Asked for by a list of one name, which the right to list covers: the site
//! has that anyway, and needs no right to get.

use std::fmt::Debug;

use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

/// The object of this name.
pub(super) async fn find<K>(api: &Api<K>, name: &str) -> kube::Result<Option<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(api.list(&named(name)).await?.items.pop())
}

/// Whether there is an object of this name, also one that cannot be read.
pub(super) async fn exists<K>(api: &Api<K>, name: &str) -> kube::Result<bool>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(!api.list_metadata(&named(name)).await?.items.is_empty())
}
