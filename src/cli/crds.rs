//! `waybill crds apply`: brings a cluster's definitions of our kinds to those of this program. Helm puts them there once and
//! never changes them; the chart runs this before each upgrade. What may be applied, `plan::definitions` says. `waybill crds
//! schemas` writes the same kinds down for editors.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{conditions::is_crd_established, wait::Condition},
};
use tokio::time::{Instant, sleep};

use super::{
    cluster::{Cluster, said},
    connection::block_on,
};
use crate::{
    api::{self, json_schema::json_schemas},
    plan::definitions::{Step, step},
};

/// The field manager of the definitions.
const MANAGER: &str = "waybill-crds";
/// Longest wait for a definition to be served.
const ESTABLISHED_LIMIT: Duration = Duration::from_secs(30);
const ESTABLISHED_POLL: Duration = Duration::from_millis(200);

/// Definitions of Waybill's kinds in a cluster
#[derive(Debug, clap::Args)]
pub(super) struct Crds {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Bring the cluster's definitions to this version; a version or a field that the cluster's have is never dropped
    Apply(Cluster),
    /// Write JSON Schemas of all kinds into a directory, for editors: one a kind, and all.json for all of them
    Schemas {
        /// The directory; made if it does not exist
        directory: PathBuf,
    },
}

/// One definition: what the cluster has, what we have, what follows.
struct Compared {
    name: String,
    /// The resourceVersion of the cluster's.
    version: Option<String>,
    ours: CustomResourceDefinition,
    step: Step,
}

impl Crds {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// If a definition would lose something by it, or what the API server says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        let cluster = match self.verb {
            Verb::Apply(cluster) => cluster,
            Verb::Schemas { directory } => return write_schemas(&directory, out),
        };
        block_on(async {
            let api: Api<CustomResourceDefinition> = Api::all(cluster.client().await?);
            let compared = compare(&api).await?;
            refuse_loss(&compared)?;
            for one in compared {
                let done = apply(&api, &one).await.with_context(|| one.name.clone())?;
                writeln!(out, "{}: {done}", one.name)?;
            }
            Ok(0)
        })
    }
}

/// Writes a file for each schema, and its path to `out`.
fn write_schemas(directory: &Path, out: &mut impl Write) -> Result<u8> {
    for (name, schema) in json_schemas(&api::crds()) {
        let path = directory.join(name);
        let said = || format!("{} cannot be written", path.display());
        path.parent().map_or(Ok(()), fs::create_dir_all).with_context(said)?;
        fs::write(&path, format!("{schema:#}\n")).with_context(said)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(0)
}

/// Looks at all of them before any is changed.
async fn compare(api: &Api<CustomResourceDefinition>) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    for ours in api::crds() {
        let name = ours.name_any();
        let live = api.get_opt(&name).await.map_err(said)?;
        let as_value = live.as_ref().map(serde_json::to_value).transpose()?;
        let step = step(as_value.as_ref(), &serde_json::to_value(&ours)?);
        compared.push(Compared { name, version: live.and_then(|live| live.resource_version()), ours, step });
    }
    Ok(compared)
}

fn refuse_loss(compared: &[Compared]) -> Result<()> {
    let refused = compared.iter().filter_map(|one| match &one.step {
        Step::Refuse { lost } => Some(format!("{} would lose {}", one.name, lost.join(", "))),
        _ => None,
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        bail!(
            "nothing was changed: {}. They come from another line of versions; bring a program that knows both",
            refused.join("; ")
        );
    }
    Ok(())
}

/// Applies one, and says what that came to.
async fn apply(api: &Api<CustomResourceDefinition>, one: &Compared) -> Result<String> {
    if let Step::Keep { more } = &one.step {
        return Ok(format!("kept as it is: a newer version brought {}", more.join(", ")));
    }
    let mut ours = one.ours.clone();
    // What was compared is what is changed: somebody else's change in between is a conflict.
    ours.metadata.resource_version.clone_from(&one.version);
    let applied =
        api.patch(&one.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&ours)).await.map_err(said)?;
    established(api, &one.name).await?;
    Ok(match &one.version {
        None => "created".to_owned(),
        version if *version == applied.resource_version() => "is of this version".to_owned(),
        Some(_) => "brought to this version".to_owned(),
    })
}

/// Waits until the API server serves it.
async fn established(api: &Api<CustomResourceDefinition>, name: &str) -> Result<()> {
    let end = Instant::now() + ESTABLISHED_LIMIT;
    while !is_crd_established().matches_object(api.get_opt(name).await.map_err(said)?.as_ref()) {
        if Instant::now() >= end {
            bail!("the API server took it and does not serve it; kubectl describe crd {name} says why");
        }
        sleep(ESTABLISHED_POLL).await;
    }
    Ok(())
}
