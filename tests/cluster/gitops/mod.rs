//! Git sync against the real API: the suites of the embedded one, compiled with another `server`.

#[path = "../../integration/gitops/branch.rs"]
mod branch;
#[path = "../../integration/gitops/directory.rs"]
mod directory;
#[path = "../../integration/gitops/guard.rs"]
mod guard;
#[path = "../../integration/gitops/ownership.rs"]
mod ownership;
mod server;
#[path = "../../integration/gitops/support.rs"]
mod support;
