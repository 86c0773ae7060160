//! Every decision, as a pure function of (facts, now). No I/O, no clock, no async.

#[cfg(feature = "server")]
pub mod behind;
#[cfg(feature = "server")]
pub mod clause;
#[cfg(feature = "server")]
pub mod definitions;
pub mod distribution;
#[cfg(feature = "server")]
mod free_names;
#[cfg(feature = "server")]
pub mod grants;
#[cfg(feature = "server")]
pub mod held;
#[cfg(feature = "server")]
pub mod lingering;
#[cfg(feature = "server")]
pub mod membership;
#[cfg(feature = "server")]
pub mod offer;
#[cfg(feature = "server")]
pub mod query;
#[cfg(feature = "server")]
mod query_cost;
#[cfg(feature = "server")]
mod query_fields;
#[cfg(feature = "server")]
mod query_flat;
#[cfg(feature = "server")]
mod query_pattern;
#[cfg(feature = "server")]
mod query_type;
#[cfg(feature = "server")]
mod query_view;
#[cfg(feature = "server")]
mod query_words;
pub mod run;
pub mod summary;
pub mod tenure;
#[cfg(feature = "server")]
pub mod why;
