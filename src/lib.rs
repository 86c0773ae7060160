//! Waybill: software distribution for fleets of machines, as Systems Management Server did it, declared in git.
//!
//! The map, in reading order. Each layer may use the ones above it in this list, never one below (`tests/tidy.rs`):
//!
//! - [`model`]: plain types everyone shares; [`content`]: digests, manifests, the content library.
//! - [`plan`]: every decision as a pure function of (facts, now); [`wire`]: what processes say to each other;
//!   [`trust`]: keys, signatures, certificates.
//! - `api`: the Kubernetes kinds; `db`: the site database.
//! - [`transport`]: TLS listeners and clients, for the shells.
//! - The shells, which do I/O and do not import each other: [`agent`], `apiserver`, `gitops`, `source`, `controller`,
//!   `cap`, `dp`, and `site`, which assembles the server-side ones.
//! - `cli`: one file per verb.

pub mod model;

pub mod content;

pub mod plan;
pub mod trust;
pub mod wire;

pub mod transport;

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod db;

pub mod agent;
#[cfg(feature = "server")]
pub mod apiserver;
#[cfg(feature = "server")]
pub mod cap;
#[cfg(feature = "server")]
pub mod controller;
#[cfg(feature = "server")]
pub mod dp;
#[cfg(feature = "server")]
pub mod gitops;
#[cfg(feature = "server")]
pub mod site;
#[cfg(feature = "server")]
pub mod source;

#[cfg(feature = "server")]
pub mod cli;

pub mod allocator;
pub mod clock;
#[cfg(feature = "server")]
pub mod metrics;
pub mod telemetry;
