//! Manifests on disk or in git, read, diagnosed and applied to the Kubernetes API.
//!
//! In reading order: [`diagnostic`] (how a problem is shown), [`document`] (YAML with places), [`tree`] (a directory
//! without following links), [`load`] (all manifests of a tree), [`git`] and [`export`] (a branch's commit as a private
//! directory). Nothing here decides what a package or an advertisement means; that is the controllers' business.

mod blobs;
mod classify;
pub mod diagnostic;
pub mod document;
pub mod export;
pub mod git;
pub mod kinds;
mod listing;
pub mod load;
mod scan;
mod sources;
pub mod tree;

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod load_tests;
