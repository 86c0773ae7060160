//! `waybill reach`: tries which ports of a pod can be connected to from here. The chart's `helm test` runs it, to say whether the
//! cluster's network enforces NetworkPolicies at all: many accept them and enforce nothing.

use std::{io::Write, net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::{net::TcpStream, time::timeout};

use super::{
    cluster::{Cluster, said},
    connection::block_on,
    release::namespaced,
};

/// A network that drops packets gives no answer; an allowed connection inside a cluster takes milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Try which ports of a pod can be connected to from here, and hold that against what should be so
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    /// The pod
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pod: (String, String),
    /// Port that is to be reached; may be given several times
    #[arg(long, value_name = "PORT", required = true)]
    allowed: Vec<u16>,
    /// Port that a NetworkPolicy forbids; may be given several times
    #[arg(long, value_name = "PORT")]
    forbidden: Vec<u16>,
    #[command(flatten)]
    cluster: Cluster,
}

impl Reach {
    /// Runs the verb; answers the exit code: 1 if an allowed port is not reached. A forbidden one that is reached is told, no
    /// failure: it is the cluster's network that does not enforce.
    ///
    /// # Errors
    /// If the pod is not there or has no address.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let (namespace, name) = &self.pod;
            let pods: Api<Pod> = Api::namespaced(self.cluster.client().await?, namespace);
            let pod = pods.get(name).await.map_err(said)?;
            let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address yet")?;
            let address: IpAddr = address.parse().context("the pod's address is none")?;
            let mut code = 0;
            for port in self.allowed {
                let reached = reached(address, port).await;
                writeln!(
                    out,
                    "{port}: {}",
                    if reached { "reached, as it should be" } else { "NOT REACHED, and it should be" }
                )?;
                code = if reached { code } else { 1 };
            }
            for port in self.forbidden {
                let reached = reached(address, port).await;
                let is = if reached {
                    "NOT ENFORCED: reached although the policy forbids it"
                } else {
                    "not reached, as the policy says"
                };
                writeln!(out, "{port}: {is}")?;
            }
            Ok(code)
        })
    }
}

async fn reached(address: IpAddr, port: u16) -> bool {
    matches!(timeout(LIMIT, TcpStream::connect((address, port))).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_nobody_else() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(reached(address.ip(), address.port()).await);
        drop(listener);
        assert!(!reached(address.ip(), address.port()).await);
    }
}
