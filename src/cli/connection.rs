//! How people's verbs reach a site: here by the administrator's kubeconfig in its state directory; through a cluster in
//! [`super::in_cluster`]. Also the fleet group's resources as kube knows them, and listings page by page.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::show::escaped;
use crate::{
    api::{FLEET_GROUP, VERSION},
    transport::{fault, install_crypto, kubernetes},
};

/// The state directory of a site that is started without --state.
const USUAL_STATE: &str = "./state";
/// The namespace of what is declared without one.
const USUAL_NAMESPACE: &str = "default";
/// Rows asked for at once.
const PAGE_ROWS: u32 = 500;

/// What a verb reaches a site by: options, and the clients that they stand for.
pub(super) trait Way: clap::Args {
    /// What the program is called that has the verb, for hints.
    const PROGRAM: &'static str;

    /// The option that names this site, for hints, after a space; empty if it is the usual one.
    fn option(&self) -> String;

    /// The namespace of what is named without one.
    ///
    /// # Errors
    /// If nobody says which.
    async fn namespace(&self) -> Result<String>;

    /// A client for what is declared.
    ///
    /// # Errors
    /// If there is no way to it.
    async fn objects(&self) -> Result<Client>;

    /// A client for the fleet's rows and for actions.
    ///
    /// # Errors
    /// If there is no way to them.
    async fn rows(&self) -> Result<Client>;

    /// A client for the fleet's rows that may also change and delete them.
    ///
    /// # Errors
    /// As for [`Way::rows`].
    async fn changing_rows(&self) -> Result<Client> {
        self.rows().await
    }
}

/// Which site is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Site {
    /// State directory of the site, with its kubeconfig
    #[arg(long, value_name = "DIR", default_value = USUAL_STATE, env = "WAYBILL_STATE", hide_env_values = true)]
    state: PathBuf,
}

impl Way for Site {
    const PROGRAM: &'static str = "waybill";

    fn option(&self) -> String {
        if self.state == Path::new(USUAL_STATE) { String::new() } else { format!(" --state {}", self.state.display()) }
    }

    async fn namespace(&self) -> Result<String> {
        Ok(USUAL_NAMESPACE.to_owned())
    }

    /// Acts as the site's administrator.
    async fn objects(&self) -> Result<Client> {
        install_crypto();
        let path = self.state.join("kubeconfig");
        if !path.exists() {
            bail!(
                "there is no site in {}: start one with `waybill up`, or say which with --state",
                self.state.display()
            );
        }
        Ok(Client::try_from(kubernetes::config(Some(&path), None).await?)?)
    }

    /// Both are served by the site itself.
    async fn rows(&self) -> Result<Client> {
        self.objects().await
    }
}

/// Which site is meant, for verbs about something in a namespace.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InNamespace {
    /// The advertisement's namespace
    #[arg(short, long, value_name = "NAME", default_value = USUAL_NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    site: Site,
}

impl Way for InNamespace {
    const PROGRAM: &'static str = Site::PROGRAM;

    fn option(&self) -> String {
        self.site.option()
    }

    async fn namespace(&self) -> Result<String> {
        Ok(self.namespace.clone())
    }

    async fn objects(&self) -> Result<Client> {
        self.site.objects().await
    }

    async fn rows(&self) -> Result<Client> {
        self.site.rows().await
    }
}

/// Runs a verb's work.
///
/// # Errors
/// Those of the work.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A resource of the fleet group; in all namespaces unless one is given.
pub(super) fn fleet(client: &Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(FLEET_GROUP, VERSION, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Asks for something and answers the status.
///
/// # Errors
/// What the site says.
pub(super) async fn ask(client: &Client, kind: &str, namespace: Option<&str>, spec: Value) -> Result<Value> {
    asked(client, kind, namespace, spec).await.map_err(said)
}

/// As [`ask`], for who has words of his own for what the site says.
pub(super) async fn asked(
    client: &Client,
    kind: &str,
    namespace: Option<&str>,
    spec: Value,
) -> Result<Value, kube::Error> {
    let object = json!({"apiVersion": format!("{FLEET_GROUP}/{VERSION}"), "kind": kind, "metadata": {}, "spec": spec});
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    Ok(fleet(client, kind, namespace).create(&PostParams::default(), &object).await?.data["status"].clone())
}

/// Objects of a listing in its order, at most `limit`.
///
/// # Errors
/// What the site says.
pub(super) async fn list<K>(api: &Api<K>, fields: &str, limit: usize) -> Result<Vec<K>>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let (mut objects, mut next) = (Vec::new(), String::new());
    loop {
        let mut params = ListParams::default().limit(PAGE_ROWS);
        if !fields.is_empty() {
            params = params.fields(fields);
        }
        if !next.is_empty() {
            params = params.continue_token(&next);
        }
        let page = api.list(&params).await.map_err(said)?;
        objects.extend(page.items);
        next = page.metadata.continue_.unwrap_or_default();
        if next.is_empty() || objects.len() >= limit {
            objects.truncate(limit);
            return Ok(objects);
        }
    }
}

/// The site's own words, without the client's frame around them.
pub(super) fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow::anyhow!(status.message.clone()),
        other => anyhow::anyhow!("the site does not answer ({}); is it running and ready?", fault::in_words(&other)),
    }
}

/// The id of a client that was given by its id, or by its host name if only one has that; nothing if there is none. What a
/// client said that was deleted since is still found by its id.
///
/// # Errors
/// If several clients have the host name.
pub(super) async fn find_client<W: Way>(client: &Client, given: &str) -> Result<Option<String>> {
    let clients = fleet(client, "Client", None);
    let plain = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !plain {
        return Ok(None);
    }
    match clients.get_opt(given).await {
        Ok(Some(_)) => return Ok(Some(given.to_owned())),
        // Who may not read machines can still ask about one by its id.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Some(given.to_owned())),
        other => drop(other.map_err(said)?),
    }
    let named = list(&clients, &format!("status.hostname={given}"), 2).await?;
    match named.as_slice() {
        [] => Ok(None),
        [one] => Ok(one.metadata.name.clone()),
        _ => bail!("several clients are called {given}; give the id, `{} clients` shows it", W::PROGRAM),
    }
}

/// As [`find_client`] for who needs one.
///
/// # Errors
/// If there is none, or several have the host name.
pub(super) async fn client_id<W: Way>(client: &Client, given: &str) -> Result<String> {
    find_client::<W>(client, given).await?.with_context(|| no_client::<W>(given))
}

/// What is said of a client that nobody knows.
pub(super) fn no_client<W: Way>(given: &str) -> String {
    format!("there is no client '{}'; `{} clients` shows who has joined", escaped(given), W::PROGRAM)
}
