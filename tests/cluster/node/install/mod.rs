//! The chart on the node: what a new user does, and what then goes wrong. Each test has a node of its own.

mod bad_days;
mod life;
mod removal;
mod rights;
mod site;
mod used;

use std::path::{Path, PathBuf};

use serde_json::Value;
use site::Site;

/// The image that `make image` packed.
fn image() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image/waybill.tar");
    assert!(path.exists(), "{} is missing: run `make image`", path.display());
    path
}

/// What kubectl printed, as a document.
fn json(printed: &str) -> Result<Value, String> {
    serde_json::from_str(printed).map_err(|error| format!("{error}: {printed}"))
}
