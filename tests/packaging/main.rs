//! What is shipped: the container image and the Helm chart, looked at without a cluster. The chart's tests need `helm` and skip
//! aloud where there is none.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report; clippy knows only functions marked as tests")]

mod chart;
mod image;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../support/require.rs"]
mod require;
