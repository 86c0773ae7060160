//! A port of this machine that leads to one of a pod, through the cluster's API server, as `kubectl port-forward` opens it. Knows
//! nothing of what is said through it: who connects here is not yet let in there.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::Portforwarder};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::cluster::said;
use crate::transport::kubernetes::in_words;

/// Opens it for as long as the program runs.
///
/// # Errors
/// If the API server or the pod's node refuses.
pub(super) async fn open(pods: Api<Pod>, pod: String, port: u16) -> Result<SocketAddr> {
    // The first one at once: what is refused is said before anybody connects.
    let mut first = Some(forwarder(&pods, &pod, port).await?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port can be opened here")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let forwarder = match first.take() {
                Some(first) => Ok(first),
                None => forwarder(&pods, &pod, port).await,
            };
            match forwarder {
                Ok(forwarder) => drop(tokio::spawn(join(connection, forwarder, port))),
                Err(error) => tracing::warn!(error = in_words(error.as_ref()), "a connection was not forwarded"),
            }
        }
    });
    Ok(address)
}

async fn forwarder(pods: &Api<Pod>, pod: &str, port: u16) -> Result<Portforwarder> {
    let opened = pods.portforward(pod, &[port]).await;
    opened.map_err(refused).with_context(|| format!("port {port} of pod {pod} cannot be forwarded"))
}

/// A refusal to switch to another protocol says its code alone; asking for the pod tells the rest.
fn refused(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::UpgradeConnection(error) => anyhow!(error),
        other => said(other),
    }
}

/// Passes bytes both ways until one side ends.
async fn join(mut here: TcpStream, mut forwarder: Portforwarder, port: u16) {
    let (Some(mut there), Some(trouble)) = (forwarder.take_stream(port), forwarder.take_error(port)) else { return };
    let passed = async { copy_bidirectional(&mut here, &mut there).await };
    tokio::pin!(passed);
    tokio::select! {
        _ = &mut passed => {}
        Some(error) = trouble => tracing::debug!(error, "a forwarded connection broke"),
    }
    forwarder.abort();
}
