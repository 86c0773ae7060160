//! Why a request to another process gave no answer, in words for people. Libraries say it in theirs, several deep, with their
//! own addresses for further reading. Decides nothing: who asked still has the error.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

use super::answer;
use crate::model::causes;

/// What is said of a listener that another authority certifies.
const STRANGER: &str = "what listens there does not belong to this site: its certificate is another's";

/// An error of a request, in a sentence without the layers that it came through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    /// The same, with where it happened.
    #[must_use]
    pub fn at(self, url: &str) -> Self {
        Self(format!("{url}: {self}"))
    }

    /// Whether somebody else listens there: no waiting helps.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.0.ends_with(STRANGER)
    }

    /// An answer that is a refusal.
    #[must_use]
    pub fn of_status(status: reqwest::StatusCode) -> Self {
        Self(format!("{} ({})", answer::meaning(status), status.as_u16()))
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self(in_words(&error))
    }
}

/// What went wrong, by the first cause that says more than that something did.
#[must_use]
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<&(dyn Error + 'static)> = causes::each(error).collect();
    let timed_out = causes.iter().any(|cause| cause.downcast_ref().is_some_and(reqwest::Error::is_timeout));
    if timed_out {
        return "it did not answer in time".to_owned();
    }
    // The innermost is where it began; what stands around it repeats it.
    let known = causes.iter().rev().find_map(|cause| of_cause(*cause));
    known.unwrap_or_else(|| causes.last().map_or_else(String::new, ToString::to_string))
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    let mut error = cause.downcast_ref::<io::Error>()?;
    // An error of TLS travels inside one of input and output, often of two, and their chain of causes leaves it out.
    while let Some(inner) = error.get_ref() {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls));
        }
        match inner.downcast_ref::<io::Error>() {
            Some(inner) => error = inner,
            None => break,
        }
    }
    of_system(error)
}

fn of_system(error: &io::Error) -> Option<String> {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => "the connection was cut off",
        io::ErrorKind::TimedOut => "it did not answer in time",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            "the network leads to no such machine"
        }
        _ => {
            let text = error.to_string();
            return text.contains("lookup address").then(|| "no machine of this name is known here".to_owned());
        }
    };
    Some(words.to_owned())
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired, or a clock is wrong".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: a clock is wrong".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name; start it with --advertise NAME".to_owned(),
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => STRANGER.to_owned(),
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it refuses our certificate, which has expired".to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => "it refuses our certificate: this device is blocked or deleted, or of another site".to_owned(),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => {
            "what listens there does not speak TLS as a site does".to_owned()
        }
        other => format!("no secure connection: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Layer(#[source] io::Error);

    fn said(error: io::Error) -> String {
        in_words(&Layer(error))
    }

    #[test]
    fn what_the_libraries_say_becomes_a_sentence() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, io::Error::new(io::ErrorKind::InvalidData, error));
        let eof =
            "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual";
        for (error, expected) in [
            (io::ErrorKind::ConnectionRefused.into(), "nobody listens there"),
            (io::Error::new(io::ErrorKind::UnexpectedEof, eof), "the connection was cut off"),
            (
                tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "what listens there does not belong to this site: its certificate is another's",
            ),
            (
                tls(rustls::Error::AlertReceived(AlertDescription::AccessDenied)),
                "it refuses our certificate: this device is blocked or deleted, or of another site",
            ),
            (
                io::Error::other("failed to lookup address information: Name or service not known"),
                "no machine of this name is known here",
            ),
        ] {
            assert_eq!(said(error), expected);
        }
        let stranger = tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(Fault(said(stranger)).at("https://x").is_stranger());
        assert!(!Fault(said(io::ErrorKind::ConnectionRefused.into())).is_stranger());
        // What nobody foresaw keeps its innermost words.
        assert_eq!(said(io::Error::other("odd")), "odd");
    }

    #[tokio::test]
    async fn a_real_request_to_nobody_is_said_in_one_sentence() {
        crate::transport::install_crypto();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = reqwest::get(format!("http://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!(Fault::from(error).to_string(), "nobody listens there");
    }
}
