//! Tests against the real Kubernetes: etcd and kube-apiserver of pinned versions, started here and gone afterwards. One binary,
//! run by `make cluster-test`; in `cargo test` its tests skip and say so, wherever the tools may lie.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report; clippy knows only functions marked as tests")]

mod aggregated;
mod api_level;
mod apiserver;
mod chart;
mod clauses;
mod differential;
mod earlier;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../integration/apiserver/support.rs"]
mod embedded;
mod faults;
mod gitops;
mod grants;
mod health;
mod hooks;
mod kubectl;
mod kustomize;
mod left_behind;
mod node;
mod owners;
mod plugin;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../support/previous.rs"]
mod previous;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../support/require.rs"]
mod require;
mod roles;
mod tenure;

/// The rest of this binary relies on it: asked for the cluster, nothing may pass by skipping.
#[test]
fn asked_for_the_cluster_the_real_api_is_there() {
    if let Some(api) = api_level::RealApi::shared() {
        assert!(api.url().starts_with("https://127.0.0.1:"));
    }
}
