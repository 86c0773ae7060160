//! How Waybill's processes connect: TLS 1.3 with certificates of the site's own authorities, under limits. The client half
//! is part of the slim agent; the listeners need feature `server`. What is said over a connection is not decided here.

pub mod answer;
pub mod backoff;
pub mod client;
pub mod download;
mod enrolment;
pub mod fault;
mod invitation;
mod kept;
pub mod pace;
pub mod renewal;
pub mod session;
mod verify;

#[cfg(feature = "server")]
mod activity;
#[cfg(feature = "server")]
mod admission;
#[cfg(feature = "server")]
pub mod authorities;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "server")]
pub mod file;
#[cfg(feature = "server")]
pub mod kubernetes;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod measure;
#[cfg(feature = "server")]
pub mod peer;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod serving;
#[cfg(feature = "server")]
pub mod tls;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

/// Makes ring the process's cryptography, for the libraries that ask for a default. Everything here names ring itself;
/// calling this twice, or after somebody else chose, changes nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
