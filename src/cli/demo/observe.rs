//! What the demo sees: the site's Kubernetes API, the fleet group, and the machines and drives themselves. It changes
//! nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use super::{
    fleet::{OTHERS, PILOTS},
    scratch::Scratch,
};
use crate::{
    api::{
        FLEET_GROUP, VERSION,
        advertisement::{Advertisement, AdvertisementStatus},
        distribution::Distribution,
        distribution_point::DistributionPoint,
        package::{Package, PackageStatus},
        program::Program,
        site::{Site, SiteStatus},
    },
    transport::kubernetes,
};

/// Where all authored objects of the demo lie.
const NAMESPACE: &str = "default";
/// Directories are searched for published content so deep.
const SEARCH_DEPTH: u32 = 6;

/// The eyes.
pub(super) struct Observer {
    client: Client,
    machines: PathBuf,
    drives: [PathBuf; 2],
}

/// How things stand at one moment.
pub(super) struct View {
    /// What the site says of itself.
    pub(super) site: SiteStatus,
    /// Distribution points that are ready.
    pub(super) points: u64,
    /// Packages by name.
    pub(super) packages: BTreeMap<String, PackageStatus>,
    /// Advertisements by name.
    pub(super) advertisements: BTreeMap<String, AdvertisementStatus>,
    /// Objects that are there, as `Kind name`, of the four kinds that belong to a package.
    pub(super) objects: Vec<String>,
    /// What each machine noted, sorted.
    pub(super) installed: BTreeMap<String, Vec<String>>,
}

impl View {
    /// Clients on which an advertisement's program succeeded, as its status says.
    pub(super) fn succeeded(&self, advertisement: &str) -> u64 {
        let status = self.advertisements.get(advertisement);
        status.and_then(|status| status.clients.as_ref()).map_or(0, |clients| clients.succeeded.cast_unsigned())
    }

    /// Copies of the current versions on all points, as the packages' status says.
    pub(super) fn copies(&self) -> u64 {
        let all = self.packages.values().filter_map(|status| status.distribution.as_ref());
        all.map(|distribution| distribution.installed.cast_unsigned()).sum()
    }

    /// Machines that noted a line.
    pub(super) fn machines_with(&self, line: &str) -> u64 {
        self.installed.values().filter(|lines| lines.iter().any(|one| one == line)).count() as u64
    }

    /// Whether an object is gone.
    pub(super) fn gone(&self, object: &str) -> u64 {
        u64::from(!self.objects.iter().any(|one| one == object))
    }
}

impl Observer {
    /// With the kubeconfig that the site wrote.
    pub(super) async fn connect(scratch: &Scratch) -> Result<Self> {
        let file = scratch.path("site/kubeconfig");
        Ok(Self {
            client: Client::try_from(kubernetes::config(Some(&file), None).await?)?,
            machines: scratch.path("machines"),
            drives: [scratch.path("site"), scratch.path("branch-dp")],
        })
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// If the API does not answer.
    pub(super) async fn look(&self) -> Result<View> {
        let all = ListParams::default();
        let sites = Api::<Site>::all(self.client.clone()).list(&all).await?;
        let points = Api::<DistributionPoint>::all(self.client.clone()).list(&all).await?;
        let packages = self.namespaced::<Package>().list(&all).await?;
        let advertisements = self.namespaced::<Advertisement>().list(&all).await?;
        let programs = self.namespaced::<Program>().list(&all).await?;
        let distributions = self.namespaced::<Distribution>().list(&all).await?;
        let mut objects: Vec<String> = packages.iter().map(|one| format!("Package {}", one.name_any())).collect();
        objects.extend(programs.iter().map(|one| format!("Program {}", one.name_any())));
        objects.extend(distributions.iter().map(|one| format!("Distribution {}", one.name_any())));
        objects.extend(advertisements.iter().map(|one| format!("Advertisement {}", one.name_any())));
        let ready = |point: &&DistributionPoint| {
            let conditions = point.status.iter().flat_map(|status| &status.observed.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        Ok(View {
            site: sites.into_iter().next().and_then(|site| site.status).unwrap_or_default(),
            points: points.iter().filter(ready).count() as u64,
            packages: packages.into_iter().map(|one| (one.name_any(), one.status.unwrap_or_default())).collect(),
            advertisements: advertisements
                .into_iter()
                .map(|one| (one.name_any(), one.status.unwrap_or_default()))
                .collect(),
            objects,
            installed: PILOTS.iter().chain(&OTHERS).map(|name| (String::from(*name), self.noted(name))).collect(),
        })
    }

    fn namespaced<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Rows of the fleet group; each is the row's `status`.
    pub(super) async fn rows(&self, kind: &str, plural: &str) -> Result<Vec<serde_json::Value>> {
        let kind = GroupVersionKind::gvk(FLEET_GROUP, VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let listed =
            Api::<DynamicObject>::all_with(self.client.clone(), &resource).list(&ListParams::default()).await?;
        Ok(listed.into_iter().map(|one| one.data["status"].clone()).collect())
    }

    fn noted(&self, client: &str) -> Vec<String> {
        let text = fs::read_to_string(self.machines.join(client).join("installed")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// Drives on which no version of a package lies any more, looked up on the drives themselves.
    pub(super) fn drives_without(&self, package: &str) -> u64 {
        self.drives.iter().filter(|drive| !holds(drive, package, SEARCH_DEPTH)).count() as u64
    }
}

/// Whether a directory `NAMESPACE/package` with something in it lies below.
fn holds(directory: &Path, package: &str, depth: u32) -> bool {
    let published = directory.join(NAMESPACE).join(package);
    if fs::read_dir(published).is_ok_and(|mut entries| entries.next().is_some()) {
        return true;
    }
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    depth > 0
        && below
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .any(|entry| holds(&entry.path(), package, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_content_is_found_where_it_lies() {
        let drive = tempfile::tempdir().unwrap();
        let package = drive.path().join("drives/0/default/notice");
        fs::create_dir_all(&package).unwrap();
        assert!(!holds(drive.path(), "notice", SEARCH_DEPTH), "an empty directory holds nothing");
        fs::create_dir(package.join("1-abc")).unwrap();
        assert!(holds(drive.path(), "notice", SEARCH_DEPTH));
        assert!(!holds(drive.path(), "other", SEARCH_DEPTH));
    }
}
