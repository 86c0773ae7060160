//! The suites of the embedded API against the real one: the same files, compiled with another `support`.

#[path = "../../integration/apiserver/kubectl.rs"]
mod kubectl;
#[path = "../../integration/apiserver/objects.rs"]
mod objects;
#[path = "../../integration/apiserver/raw.rs"]
mod raw;
#[path = "../../integration/apiserver/refused.rs"]
mod refused;
#[path = "../../integration/apiserver/requests.rs"]
mod requests;
mod support;
#[path = "../../integration/apiserver/watches.rs"]
mod watches;
