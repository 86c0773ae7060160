//! Integration tests: real processes, files and sockets; one binary, one module a subject.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report; clippy knows only functions marked as tests")]

#[path = "../support/require.rs"]
#[allow(dead_code, reason = "shared by test binaries; none uses all of it")]
mod require;

#[cfg(feature = "server")]
mod admission;
#[cfg(feature = "server")]
mod agent;
#[cfg(feature = "server")]
mod apiserver;
#[cfg(feature = "server")]
mod demo;
#[cfg(feature = "server")]
mod earlier;
#[cfg(feature = "server")]
mod end_to_end;
#[cfg(feature = "server")]
mod environments;
#[cfg(feature = "server")]
mod examples;
#[cfg(feature = "server")]
mod faults;
#[cfg(feature = "server")]
mod fleet;
#[cfg(feature = "server")]
mod full_disk;
#[cfg(feature = "server")]
mod gitops;
#[cfg(feature = "server")]
mod health;
#[cfg(feature = "server")]
mod hostile;
#[cfg(feature = "server")]
mod joining;
#[cfg(feature = "server")]
mod kinds;
#[cfg(feature = "server")]
mod points;
#[cfg(feature = "server")]
#[path = "../support/previous.rs"]
mod previous;
#[cfg(feature = "server")]
mod readme;
mod run;
#[cfg(feature = "server")]
mod scale;
#[cfg(feature = "server")]
mod schemas;
#[cfg(feature = "server")]
mod sources;
#[cfg(feature = "server")]
mod speed;
#[cfg(feature = "server")]
mod starting;
#[cfg(feature = "server")]
mod traffic;
#[cfg(feature = "server")]
mod world;
