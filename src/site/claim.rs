//! The beginning of an instance's tenure beside a cluster: its database is the one that the site's object names, and its epoch
//! is above all that were; both are written into the object before anything is done. Decided in [`crate::plan::tenure`].

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    error::SiteError,
    sync::ensure_own_objects,
    tenure::{outlast, passes},
};
use crate::{
    api::{FIELD_MANAGER, site::Site},
    db::{self, Database},
    plan::tenure::{Recorded, SiteFacts, epoch_floor, only_site},
};

/// Writes of others in between that are put up with.
const TRIES_MAX: u32 = 16;

/// Makes this database the one that serves the site, with a new epoch, which is the answer.
///
/// # Errors
/// If another server has the cluster, if the object names another database that is not to be adopted, or if it cannot be read or
/// written.
pub(super) async fn claim(client: &Client, name: &str, database: &Database, adopt: bool) -> Result<u64, SiteError> {
    let own = database.read(db::site::read).await?.id;
    let failed = |error| SiteError::OwnObjects(Box::new(error));
    let sites: Api<Site> = Api::all(client.clone());
    // Before anything is made, and once it is: two may begin at once.
    only_site(name, &own, &outlast(|| facts(&sites)).await.map_err(failed)?)?;
    outlast(|| ensure_own_objects(client, name)).await.map_err(failed)?;
    let mut tries = 0;
    loop {
        let site = outlast(|| sites.get(name)).await.map_err(failed)?;
        let recorded = site.status.as_ref().and_then(|status| {
            let epoch = status.epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0);
            let pod = status.fleet.as_ref().and_then(|fleet| fleet.pod.clone());
            Some(Recorded { site_id: status.site_id.clone()?, epoch, pod })
        });
        let floor = epoch_floor(name, &own, recorded.as_ref(), adopt)?;
        // Durable here first: an epoch that others have seen is never given out again, whatever becomes of the object.
        let epoch = database.write(move |tx| db::site::raise_epoch(tx, floor)).await?;
        let body = json!({
            "metadata": {"resourceVersion": site.metadata.resource_version},
            "status": {"siteId": own, "epoch": epoch},
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match sites.patch_status(name, &params, &Patch::Merge(&body)).await {
            Ok(_) => {
                only_site(name, &own, &outlast(|| facts(&sites)).await.map_err(failed)?)?;
                return Ok(epoch);
            }
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES_MAX => tries += 1,
            // Done or not, the next epoch is above it.
            Err(error) if passes(&error) && tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the cluster's Site objects say of who serves them. One that cannot be read says it all the same, for it is read loosely.
async fn facts(sites: &Api<Site>) -> Result<Vec<SiteFacts>, kube::Error> {
    let resource = ApiResource::erase::<Site>(&());
    let sites: Api<DynamicObject> = Api::all_with(sites.clone().into_client(), &resource);
    let fact = |site: DynamicObject| SiteFacts {
        site_id: site.data["status"]["siteId"].as_str().map(str::to_owned),
        pod: site.data["status"]["fleet"]["pod"].as_str().map(str::to_owned),
        made: (site.creation_timestamp().map_or(0, |made| made.0.as_second()), site.uid().unwrap_or_default()),
        name: site.name_any(),
    };
    Ok(sites.list(&ListParams::default()).await?.items.into_iter().map(fact).collect())
}
