//! Git sync against the real embedded API server: from files and commits to objects and back.

mod branch;
mod directory;
mod guard;
mod ownership;
mod server;
mod support;
