//! Manifests on disk or in git, read, diagnosed and applied to the Kubernetes API.
//!
//! In reading order: [`diagnostic`] (how a problem is shown), [`document`] (YAML with places), [`tree`] (a directory
//! without following links), [`load`] (all manifests of a tree), [`git`] and [`export`] (a branch's commit as a private
//! directory), [`start`] (can it be served), [`watch`] and [`revision`] (what is declared now), [`live`] (what the API holds), [`plan_sync`] (what to
//! do about the difference), [`apply`] (doing it), [`acknowledge`] (letting it remove much), [`sync`] (all of it, for as long as the site runs). [`validate`]
//! [`contradictions`] and [`content`] say offline what the API server and the controllers would say. Nothing here
//! decides what a package or an advertisement means; that is the controllers' business.

pub mod acknowledge;
pub mod apply;
mod blobs;
mod classify;
pub mod complaints;
pub mod content;
pub mod contradictions;
pub mod diagnostic;
pub mod document;
pub mod export;
mod foreign;
pub mod git;
pub mod hints;
pub mod kinds;
pub mod ledger;
mod listing;
pub mod live;
pub mod load;
pub mod plan_sync;
pub mod revision;
mod scan;
mod sources;
pub mod start;
pub mod state;
pub mod sync;
mod told;
pub mod tree;
pub mod turn;
pub mod validate;
pub mod watch;
mod yaml_words;

#[cfg(test)]
mod contradictions_tests;
#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod plan_sync_tests;
