//! How a Kubernetes API server is reached: by a kubeconfig, or as kubectl and pods find it. What is said to it, others know.

use std::path::Path;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// There is no way to the API server, or it cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("no API server can be reached with {named}")]
pub struct NoWay {
    named: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The way that this kubeconfig says, in this context if it is not the current one; without a kubeconfig, that of a pod's service
/// account or of kubectl's own kubeconfig.
///
/// What is put off or cannot be answered now is not asked again: the library would do that for minutes, without a word to whoever
/// waits, and a site's tenure may have ended in between. Whoever wants that sets `default_retry`.
///
/// # Errors
/// [`NoWay`], which names what was to be used.
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, NoWay> {
    let mut config = read(kubeconfig, context).await?;
    config.default_retry = false;
    Ok(config)
}

async fn read(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, NoWay> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let Some(path) = kubeconfig else {
        let Some(context) = context else {
            let named = "a service account or kubectl's kubeconfig; give one with --kubeconfig".to_owned();
            return Config::infer().await.map_err(|error| NoWay { named, source: error.into() });
        };
        let named = format!("context {context} of kubectl's kubeconfig");
        return Config::from_kubeconfig(&options).await.map_err(|error| NoWay { named, source: error.into() });
    };
    let no_way = |source| NoWay { named: path.display().to_string(), source };
    let read = Kubeconfig::read_from(path).map_err(|error| no_way(error.into()))?;
    let config = Config::from_custom_kubeconfig(read, &options).await;
    config.map_err(|error| no_way(error.into()))
}
