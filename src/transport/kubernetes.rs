//! How a Kubernetes API server is reached: by a kubeconfig, or as kubectl and pods find it. What is said to it, others know.

use std::{error::Error, path::Path};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
    runtime::watcher,
};

use super::fault;
use crate::model::causes;

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

/// What went wrong with an API server, with all that led to it, as one sentence: a refusal in the server's own words. The
/// library says it several times over, in its own notation.
#[must_use]
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<&(dyn Error + 'static)> = causes::each(error).collect();
    let is_librarys = |cause: &&(dyn Error + 'static)| {
        find::<kube::Error>(*cause).is_some() || find::<watcher::Error>(*cause).is_some()
    };
    let own = causes.iter().take_while(|cause| !is_librarys(cause)).map(ToString::to_string);
    let refusal = causes.iter().find_map(|cause| find::<Status>(*cause));
    let last = match (refusal, causes.iter().find(|cause| is_librarys(cause))) {
        (Some(status), _) if status.message.is_empty() => Some(format!("{} ({})", status.reason, status.code)),
        (Some(status), _) => Some(status.message.clone()),
        (None, cause) => cause.map(|cause| fault::in_words(*cause)),
    };
    causes::joined(own.chain(last))
}

/// An error of this type, boxed or not.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error.downcast_ref::<T>().or_else(|| error.downcast_ref::<Box<T>>().map(|error| &**error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the Kubernetes API refused: write status")]
    struct Refused(#[source] Box<kube::Error>);

    #[test]
    fn a_refusal_is_the_servers_own_sentence_under_whatever_layers() {
        let status =
            || Status { code: 403, reason: "Forbidden".into(), ..Status::failure("sites is forbidden", "Forbidden") };
        let refused = || kube::Error::Api(status().boxed());
        assert_eq!(in_words(&refused()), "sites is forbidden");
        assert_eq!(
            in_words(&Refused(refused().into())),
            "the Kubernetes API refused: write status: sites is forbidden"
        );
        for error in [watcher::Error::InitialListFailed(refused()), watcher::Error::WatchError(status().boxed())] {
            assert_eq!(in_words(&error), "sites is forbidden");
        }
        let silent = Status { message: String::new(), ..status() };
        assert_eq!(in_words(&kube::Error::Api(silent.boxed())), "Forbidden (403)");
        let cut = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(in_words(&watcher::Error::WatchFailed(kube::Error::ReadEvents(cut()))), "nobody listens there");
        assert_eq!(in_words(&cut()), "connection refused");
    }
}
