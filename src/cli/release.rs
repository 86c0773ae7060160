//! `waybill release`: lets a cluster go. Stops the site, takes its finalizers off, so that no namespace waits for a server that is
//! gone, and says what is left where. Removes no content: with the site goes whoever could confirm that.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, said},
    connection::{block_on, list},
    messages::span,
    show::{Table, on_terminal},
};
use crate::{
    api::{GROUP, distribution_point::DistributionPoint, package::Package, site::Site},
    model::duration::Span,
};

/// Packages that are patched at once.
const AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(250);
/// Waiting for the pod takes at most this part of the whole time: the rest is for what the verb is about.
const STOPPING_SHARE: u32 = 2;

/// Take Waybill's finalizers off everything in a cluster and list what is left; for a site that is being removed or is gone
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    /// In every namespace; there is no smaller piece, so say it
    #[arg(long, required = true)]
    all: bool,
    /// Stop this StatefulSet first: a running site would put its finalizers on again
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    statefulset: Option<(String, String)>,
    /// Give up after this long
    #[arg(long, value_name = "SPAN", default_value = "55s", value_parser = span)]
    timeout: Span,
    #[command(flatten)]
    cluster: Cluster,
}

/// `NAMESPACE/NAME`.
pub(super) fn namespaced(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    parts
        .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        .ok_or_else(|| format!("'{text}' is not NAMESPACE/NAME"))
}

impl Release {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the API server says, or that time is up.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        let limit = self.timeout.as_duration();
        block_on(async {
            let work = self.release(limit / STOPPING_SHARE, out);
            match tokio::time::timeout(limit, work).await {
                Ok(done) => done.map(|()| 0),
                Err(_) => bail!("not done within {limit:?}; run it again"),
            }
        })
    }

    async fn release(&self, stopping: Duration, out: &mut impl Write) -> Result<()> {
        let client = self.cluster.client().await?;
        if let Some((namespace, name)) = &self.statefulset {
            let sites: Api<Site> = Api::all(client.clone());
            // Before anything is stopped: the name may be a slip.
            if let Some(pod) = another_serves(&list(&sites, "", usize::MAX).await?, namespace, name) {
                writeln!(
                    out,
                    "this cluster is served by pod {pod}, not by {namespace}/{name}: nothing is taken off; if that one is gone \
                     for good, run `kubectl waybill release --all`"
                )?;
                return Ok(());
            }
            let stopped = stop(&client, namespace, name, stopping).await?;
            writeln!(out, "{}", stopped)?;
        }
        let packages: Api<Package> = Api::all(client.clone());
        let left = list(&packages, "", usize::MAX).await?;
        let released = take_off(&client, left.clone()).await?;
        writeln!(out, "finalizers taken off {released} packages")?;
        let points: Api<DistributionPoint> = Api::all(client);
        let points = list(&points, "", usize::MAX).await?;
        show(&left, &points, out)
    }
}

/// The pod that serves the cluster's site, as `namespace/name`, if that is not the pod of this StatefulSet. One cluster has one
/// site: further ones are of nobody, or of a server that was refused.
fn another_serves(sites: &[Site], namespace: &str, name: &str) -> Option<String> {
    let pod = sites.iter().find_map(|site| site.status.as_ref()?.fleet.as_ref()?.pod.clone());
    pod.filter(|pod| *pod != format!("{namespace}/{name}-0"))
}

/// Scales it to nothing and waits for its pod to end.
async fn stop(client: &Client, namespace: &str, name: &str, limit: Duration) -> Result<String> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match sets.patch_scale(name, &PatchParams::default(), &none).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return Ok(format!("{namespace}/{name} is gone already"));
        }
        Err(error) => return Err(said(error)).with_context(|| format!("cannot stop {namespace}/{name}")),
    }
    let end = Instant::now() + limit;
    loop {
        let scale = sets.get_scale(name).await.map_err(said)?;
        if scale.status.is_none_or(|status| status.replicas == 0) {
            return Ok(format!("{namespace}/{name} is stopped"));
        }
        if Instant::now() >= end {
            // On a node that is gone nobody says that it ended. Namespaces must not wait for that.
            return Ok(format!("{namespace}/{name} is told to stop; its pod has not said that it did"));
        }
        sleep(POLL).await;
    }
}

/// Takes our finalizers off these packages; answers how many had one.
async fn take_off(client: &Client, packages: Vec<Package>) -> Result<usize> {
    let held = packages.into_iter().filter(|package| package.finalizers().iter().any(|one| is_ours(one)));
    let done = futures::stream::iter(held.map(|package| free(client, package))).buffer_unordered(AT_ONCE);
    let done: Vec<Result<()>> = done.collect().await;
    let count = done.len();
    done.into_iter().collect::<Result<Vec<()>>>().map(|_| count)
}

fn is_ours(finalizer: &str) -> bool {
    finalizer.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

/// Leaves others' finalizers; whoever changed the object meanwhile is not written over.
async fn free(client: &Client, mut package: Package) -> Result<()> {
    let namespace = package.namespace().unwrap_or_default();
    let api: Api<Package> = Api::namespaced(client.clone(), &namespace);
    let name = package.name_any();
    loop {
        let others: Vec<&String> = package.finalizers().iter().filter(|one| !is_ours(one)).collect();
        let patch = json!({"metadata": {"finalizers": others, "resourceVersion": package.resource_version()}});
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let named = format!("metadata.name={name}");
                let Some(newer) = list(&api, &named, 1).await?.pop() else { return Ok(()) };
                package = newer;
            }
            Err(error) => return Err(said(error)).with_context(|| format!("package {namespace}/{name}")),
        }
    }
}

/// Packages with content somewhere, and the points that hold it.
fn show(packages: &[Package], points: &[DistributionPoint], out: &mut impl Write) -> Result<()> {
    let mut held = Table::new(&["NAMESPACE", "PACKAGE", "VERSION", "DIGEST", "ON POINTS"]);
    let mut count = 0;
    for package in packages {
        let Some(status) = &package.status else { continue };
        let Some(on) = status.distribution.as_ref().filter(|on| on.installed > 0) else { continue };
        let version = status.source_version.map(|version| version.to_string()).unwrap_or_default();
        let digest = status.digest.clone().unwrap_or_default();
        held.row([
            package.namespace().unwrap_or_default(),
            package.name_any(),
            version,
            digest,
            on.installed.to_string(),
        ]);
        count += 1;
    }
    if count == 0 {
        writeln!(out, "no package has content on a point")?;
        return Ok(());
    }
    writeln!(out, "\nThis content stays where it is:")?;
    held.write(out, on_terminal())?;
    let mut places = Table::new(&["POINT", "URL", "VERSIONS"]);
    for point in points {
        let status = point.status.as_ref();
        let url = status.and_then(|status| status.url.clone()).unwrap_or_default();
        let versions = status.and_then(|status| status.installed).unwrap_or_default();
        places.row([point.name_any(), url, versions.to_string()]);
    }
    writeln!(out)?;
    places.write(out, on_terminal())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_finalizers_are_ours() {
        assert!(is_ours(crate::api::CONTENT_FINALIZER));
        assert!(!is_ours("example.com/waybill.dev") && !is_ours("waybill.dev") && !is_ours("foregroundDeletion"));
    }

    #[test]
    fn whose_site_it_is_is_what_the_site_says() {
        let site = |pod: Option<&str>| -> Site {
            let fleet = pod.map(|pod| json!({"pod": pod, "port": 7443, "certificateAuthority": ""}));
            let status = json!({"fleet": fleet});
            serde_json::from_value(json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Site",
                "metadata": {"name": "main"}, "spec": {}, "status": status}))
            .unwrap()
        };
        let another = |sites: &[Site]| another_serves(sites, "waybill", "waybill");
        assert_eq!(another(&[]), None);
        assert_eq!(another(&[site(None)]), None, "a process outside of the cluster");
        assert_eq!(another(&[site(Some("waybill/waybill-0"))]), None);
        assert_eq!(another(&[site(None), site(Some("other/waybill-0"))]).unwrap(), "other/waybill-0");
    }

    #[test]
    fn what_is_left_is_listed_with_its_points() {
        let package = |name: &str, installed: i64| -> Package {
            serde_json::from_value(json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Package",
                "metadata": {"name": name, "namespace": "web"}, "spec": {"source": {"none": {}}},
                "status": {"sourceVersion": 3, "digest": "sha256:ab", "distribution":
                    {"targeted": 2, "installed": installed, "pending": 0, "retrying": 0, "failed": 0, "removing": 0}}}))
            .unwrap()
        };
        let point: DistributionPoint = serde_json::from_value(json!({"apiVersion": "waybill.dev/v1alpha1",
            "kind": "DistributionPoint", "metadata": {"name": "branch"}, "spec": {},
            "status": {"url": "https://branch:7444", "installed": 1}}))
        .unwrap();
        let mut shown = Vec::new();
        show(&[package("nginx", 2), package("empty", 0)], &[point], &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["web", "nginx", "3", "sha256:ab", "2"]) && !shown.contains("empty"), "{shown}");
        assert!(rows.contains(&vec!["branch", "https://branch:7444", "1"]), "{shown}");
        let mut nothing = Vec::new();
        show(&[package("empty", 0)], &[], &mut nothing).unwrap();
        assert_eq!(String::from_utf8(nothing).unwrap(), "no package has content on a point\n");
    }
}
