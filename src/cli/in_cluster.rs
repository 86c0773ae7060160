//! How people's verbs reach a site whose objects live in a cluster. What is declared comes from the cluster's API server, to which
//! they are who kubectl says. Rows and actions come the same way where they are a part of the cluster's API; otherwise, and to
//! change rows, from the site itself, through a port of its pod that the API server forwards. There people are a ServiceAccount,
//! by a token that was made for the site and is good for nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use http::Uri;
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, Client, Config, api::PostParams};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

use super::{cluster::said, connection::Way, forward, release::namespaced};
use crate::{
    api::{
        FLEET_GROUP, VERSION,
        site::{FleetStatus, Site},
    },
    apiserver::AUDIENCE,
    transport::{install_crypto, kubernetes},
};

/// The Site of a server that was given no other name.
const USUAL_SITE: &str = "main";
/// Life of a token: the shortest that an API server gives.
const TOKEN_SECONDS: i64 = 600;

/// Which site is meant, and how its cluster is reached
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InCluster {
    /// Kubeconfig of the cluster; by default kubectl's
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; by default the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of what is named without one; by default that of the context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Name of the Site
    #[arg(long, value_name = "NAME", default_value = USUAL_SITE)]
    site: String,
    /// Who to be at the site: a ServiceAccount of the namespace that the site runs in, or another one by NAMESPACE/NAME
    #[arg(long, value_name = "NAME", env = "WAYBILL_SERVICE_ACCOUNT", hide_env_values = true)]
    service_account: Option<String>,
    /// Address of the site's rows, as https://HOST:PORT, instead of a forwarded port of its pod
    #[arg(long, value_name = "URL", value_parser = address)]
    server: Option<Uri>,
}

fn address(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
    uri.ok_or_else(|| format!("'{text}' is no address; write https://HOST:PORT"))
}

impl Way for InCluster {
    const PROGRAM: &'static str = "kubectl waybill";

    fn option(&self) -> String {
        if self.site == USUAL_SITE { String::new() } else { format!(" --site {}", self.site) }
    }

    async fn namespace(&self) -> Result<String> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.clone()),
            None => Ok(self.config().await?.default_namespace),
        }
    }

    async fn objects(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    async fn rows(&self) -> Result<Client> {
        if self.server.is_none() && self.service_account().is_none() {
            let cluster = self.objects().await?;
            if hands_rows_on(&cluster).await? {
                return Ok(cluster);
            }
        }
        self.changing_rows().await
    }

    async fn changing_rows(&self) -> Result<Client> {
        let config = self.config().await?;
        let own_namespace = config.default_namespace.clone();
        let cluster = Client::try_from(config)?;
        let served = self.served(&cluster).await?;
        let pod = served.pod.as_deref().map(namespaced).transpose().map_err(anyhow::Error::msg)?;
        let account = self.account(pod.as_ref().map_or(&own_namespace, |(namespace, _)| namespace))?;
        let token = token(&cluster, &account).await?;
        let url = match (&self.server, pod) {
            (Some(url), _) => url.clone(),
            (None, Some((namespace, name))) => {
                let port = u16::try_from(served.port).context("the site's status names no port")?;
                let address = forward::open(Api::namespaced(cluster, &namespace), name, port).await?;
                format!("https://{address}").parse()?
            }
            (None, None) => {
                bail!("the site runs in no pod of this cluster: give the address of its rows with --server")
            }
        };
        let authority = CertificateDer::from_pem_slice(served.certificate_authority.as_bytes());
        let mut config = Config::new(url);
        config.root_cert = Some(vec![authority.context("the site's status names no certificate")?.to_vec()]);
        config.auth_info.token = Some(token.into());
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }
}

impl InCluster {
    async fn config(&self) -> Result<Config> {
        install_crypto();
        Ok(kubernetes::config(self.kubeconfig.as_deref(), self.context.as_deref()).await?)
    }

    /// Where the site serves its rows, as its object says.
    async fn served(&self, cluster: &Client) -> Result<FleetStatus> {
        let sites: Api<Site> = Api::all(cluster.clone());
        let site = sites.get_opt(&self.site).await.map_err(said)?;
        let site = site.with_context(|| {
            format!(
                "there is no Site {}; --site names another one; if it was deleted, apply it again, or start its pod again, which makes \
                 one without grants",
                self.site
            )
        })?;
        site.status.and_then(|status| status.fleet).with_context(|| {
            format!("the status of Site {} does not say where its rows are served; does its server run?", self.site)
        })
    }

    /// The account that was given.
    fn service_account(&self) -> Option<&str> {
        self.service_account.as_deref().filter(|given| !given.is_empty())
    }

    /// Namespace and name of the account to be; in `usual` unless another namespace is given.
    fn account(&self, usual: &str) -> Result<(String, String)> {
        let Some(given) = self.service_account() else {
            bail!(
                "say which ServiceAccount you are at the site, with --service-account or in WAYBILL_SERVICE_ACCOUNT; whoever \
                 owns the site makes one for you"
            );
        };
        match given.contains('/') {
            true => namespaced(given).map_err(anyhow::Error::msg),
            false => Ok((usual.to_owned(), given.to_owned())),
        }
    }
}

/// Whether the cluster's API server has the fleet's rows from the site.
async fn hands_rows_on(cluster: &Client) -> Result<bool> {
    match cluster.list_api_group_resources(&format!("{FLEET_GROUP}/{VERSION}")).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        // The API server answers, and whoever it asks does not.
        Err(error @ kube::Error::Api(_)) => Err(said(error)).with_context(|| {
            format!(
                "the fleet's rows are a part of the cluster's API, and the site does not answer there (kubectl get apiservice \
                 {VERSION}.{FLEET_GROUP}); with --service-account it is asked itself"
            )
        }),
        Err(error) => Err(said(error)),
    }
}

/// A token for the site alone, which the API server gives to whom may have it.
async fn token(cluster: &Client, (namespace, name): &(String, String)) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.clone(), namespace);
    let spec = json!({"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS});
    let wanted: TokenRequest = serde_json::from_value(json!({ "spec": spec }))?;
    let made = accounts.create_token_request(name, &PostParams::default(), &wanted).await;
    let made =
        made.map_err(said).with_context(|| format!("you cannot be ServiceAccount {namespace}/{name} at the site"))?;
    made.status.and_then(|status| status.token).context("the API server gave no token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_is_encrypted() {
        assert!(address("https://127.0.0.1:7443").is_ok() && address("https://fleet.example.com").is_ok());
        for other in ["http://127.0.0.1:7443", "127.0.0.1:7443", "fleet", "https://", ""] {
            assert!(address(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_account_is_one_of_the_sites_namespace_unless_it_names_another() {
        let mut way = InCluster {
            kubeconfig: None,
            context: None,
            namespace: Some("web".into()),
            site: USUAL_SITE.into(),
            service_account: None,
            server: None,
        };
        assert!(way.account("fleet").unwrap_err().to_string().contains("--service-account"));
        for (given, expected) in [("ann", ("fleet", "ann")), ("web/ann", ("web", "ann"))] {
            way.service_account = Some(given.into());
            assert_eq!(way.account("fleet").unwrap(), (expected.0.to_owned(), expected.1.to_owned()));
        }
    }
}
