//! `waybill apiserver`: the embedded Kubernetes API alone, for API suites and for looking at a state directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::point::{self, stop_on_signal};
use crate::{
    apiserver::{ApiServer, Callers, OpenError, Options, credentials::Credentials},
    clock,
    gitops::document::describe,
    site::state::StateDirectory,
    transport::{install_crypto, serving::Serving, tls::ServerTls},
    trust::ca::{SERVING_LIFETIME, USER_LIFETIME},
};

/// Names of the listener beside its address.
const NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// Serve the embedded Kubernetes API alone
#[derive(Debug, clap::Args)]
pub(super) struct Apiserver {
    /// Directory of the database, the certificate authority and the kubeconfigs; made if it does not exist
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Serve the CustomResourceDefinitions of this folder (YAML or JSON) instead of the built-in kinds
    #[arg(long, value_name = "DIR")]
    crds: Option<PathBuf>,
}

impl Apiserver {
    /// Runs until the process is asked to stop.
    ///
    /// # Errors
    /// If the state cannot be opened or the address cannot be listened on.
    pub(super) fn run(self) -> Result<()> {
        point::serving(self.serve())
    }

    async fn serve(self) -> Result<()> {
        install_crypto();
        let Apiserver { state, listen, crds } = self;
        let opened = StateDirectory::open_as(&state, "waybill-apiserver")?;
        let state = opened.path();
        let definitions = crds.as_deref().map(read_definitions).transpose()?;
        let crds = match &definitions {
            Some(read) => read.iter().map(|(_, document)| document.clone()).collect(),
            None => compiled_in()?,
        };
        let credentials = Credentials::load_or_create(&state.join("api"), USER_LIFETIME, clock::now())?;
        let server =
            ApiServer::open(Options { database: state.join("api.db"), crds, fleet: None, callers: Callers::Own })
                .map_err(|error| placed(error, &definitions.unwrap_or_default()))?;
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))?;
        let address = listener.local_addr()?;
        let mut names: Vec<String> = NAMES.iter().map(|n| (*n).to_owned()).collect();
        if !address.ip().is_unspecified() {
            names.push(address.ip().to_string());
        }
        let host =
            if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
        let url = format!("https://{host}");
        let kubeconfigs = credentials.kubeconfigs(state, &url)?;
        let serving = Serving::new(credentials.authority().clone(), names, SERVING_LIFETIME)?;
        let tls = ServerTls::kubernetes(serving.certificate(), credentials.authority().certificate_pem())?;
        tracing::info!(%url, kubeconfig = %state.join("kubeconfig").display(), "the Kubernetes API is served");
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        tokio::select! {
            () = server.serve(listener, tls, shutdown) => {}
            () = serving.keep() => {}
            () = kubeconfigs.keep() => {}
        }
        Ok(())
    }
}

/// The kinds of waybill.dev.
fn compiled_in() -> Result<Vec<Value>> {
    crate::api::crds().iter().map(|crd| Ok(serde_json::to_value(crd)?)).collect()
}

/// Says in which file the definition is that cannot be served.
fn placed(error: OpenError, definitions: &[(PathBuf, Value)]) -> anyhow::Error {
    let file = match &error {
        OpenError::Definition { name, .. } => definitions.iter().find(|(_, d)| d["metadata"]["name"] == name.as_str()),
        _ => None,
    };
    match file {
        Some((file, _)) => anyhow::Error::new(error).context(format!("{} cannot be served", file.display())),
        None => error.into(),
    }
}

/// The documents of a folder with their files, in the order of the files' names.
fn read_definitions(folder: &Path) -> Result<Vec<(PathBuf, Value)>> {
    let listed = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = listed.map(|f| Ok(f?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|f| f.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known)));
    files.sort();
    let mut documents = vec![];
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let read: Vec<Value> = serde_yaml::from_multiple(&text)
            .map_err(|error| anyhow::anyhow!("{} is no YAML or JSON: {}", file.display(), describe(&error)))?;
        for document in read {
            anyhow::ensure!(
                document["kind"] == "CustomResourceDefinition",
                "{} holds a {}, and only CustomResourceDefinitions are taken from --crds",
                file.display(),
                document["kind"]
            );
            documents.push((file.clone(), document));
        }
    }
    Ok(documents)
}
