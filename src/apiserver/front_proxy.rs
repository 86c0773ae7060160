//! Callers whom a cluster's API server hands on: it shows a certificate of its own, and names the caller in headers. Whom to
//! believe, and in which headers, the cluster publishes in a ConfigMap for all servers that stand behind it. Reads that
//! publication and those headers; nothing is asked or served here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderMap, HeaderName};
use tokio::sync::watch;

use super::{
    access::{ANONYMOUS, AUTHENTICATED, User},
    path,
};

/// Name of the ConfigMap; the cluster has a Role `extension-apiserver-authentication-reader` for whoever is to read it.
pub const PUBLISHED: &str = "extension-apiserver-authentication";
/// Its namespace.
pub const PUBLISHED_IN: &str = "kube-system";

/// Whom to believe at any time.
pub type Believed = watch::Receiver<Arc<FrontProxy>>;

/// What the cluster says of its front proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontProxy {
    /// Certificates (PEM) of the authorities that issue the proxy's.
    pub authorities_pem: String,
    /// Common names of the proxy; empty stands for any that the authorities issued.
    names: BTreeSet<String>,
    users: Vec<HeaderName>,
    uids: Vec<HeaderName>,
    groups: Vec<HeaderName>,
    /// What headers of further facts begin with, in lower case.
    extras: Vec<String>,
}

/// The publication says nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap {PUBLISHED_IN}/{PUBLISHED} {0}")]
pub struct NoFrontProxy(String);

impl FrontProxy {
    /// Reads the data of the ConfigMap.
    ///
    /// # Errors
    /// [`NoFrontProxy`] if the cluster has no front proxy, or a key is not what it should be.
    pub fn published(data: &BTreeMap<String, String>) -> Result<Self, NoFrontProxy> {
        let authorities = data.get("requestheader-client-ca-file").filter(|pem| !pem.is_empty());
        let authorities_pem = authorities
            .ok_or_else(|| {
                NoFrontProxy("names no requestheader-client-ca-file: the API server hands on no requests".into())
            })?
            .clone();
        let users = headers(data, "requestheader-username-headers")?;
        if users.is_empty() {
            return Err(NoFrontProxy("names no requestheader-username-headers".into()));
        }
        Ok(Self {
            authorities_pem,
            names: list(data, "requestheader-allowed-names")?.into_iter().collect(),
            users,
            uids: headers(data, "requestheader-uid-headers")?,
            groups: headers(data, "requestheader-group-headers")?,
            extras: list(data, "requestheader-extra-headers-prefix")?.iter().map(|p| p.to_ascii_lowercase()).collect(),
        })
    }

    /// The caller whom the proxy hands on. `None` if `proxy`, whose certificate one of the authorities issued, is not it, or if
    /// it names nobody.
    pub(super) fn handed_on(&self, proxy: &User, fields: &HeaderMap) -> Option<User> {
        if !self.names.is_empty() && !self.names.contains(&proxy.name) {
            tracing::warn!(name = %proxy.name, "who holds this certificate is not the API server's front proxy");
            return None;
        }
        let first =
            |names: &[HeaderName]| names.iter().find_map(|name| texts(fields, name).find(|text| !text.is_empty()));
        let name = first(&self.users)?.to_owned();
        let groups = self.groups.iter().flat_map(|name| texts(fields, name)).filter(|group| !group.is_empty());
        let mut groups: Vec<String> = groups.map(str::to_owned).collect();
        if name != ANONYMOUS && !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for header in fields.keys() {
            let Some(key) = self.extras.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str())) else {
                continue;
            };
            // What a header's name cannot hold is escaped as in a path.
            let Some(key) = path::decoded(key) else { continue };
            extra.entry(key).or_default().extend(texts(fields, header).map(str::to_owned));
        }
        let uid = first(&self.uids).unwrap_or_default().to_owned();
        Some(User { name, groups, uid, extra, credential: String::new() })
    }
}

/// The values of a header, as far as they are text.
fn texts<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    fields.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// A key whose value is a JSON list of texts; empty if it is missing.
fn list(data: &BTreeMap<String, String>, key: &str) -> Result<Vec<String>, NoFrontProxy> {
    match data.get(key) {
        None => Ok(vec![]),
        Some(text) => serde_json::from_str(text).map_err(|_| NoFrontProxy(format!("has no list of texts in {key}"))),
    }
}

fn headers(data: &BTreeMap<String, String>, key: &str) -> Result<Vec<HeaderName>, NoFrontProxy> {
    let names = list(data, key)?.into_iter().map(|name| name.parse());
    names.collect::<Result<_, _>>().map_err(|_| NoFrontProxy(format!("names no header in {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(more: &[(&str, &str)]) -> Result<FrontProxy, NoFrontProxy> {
        let usual = [
            ("requestheader-client-ca-file", "PEM"),
            ("requestheader-allowed-names", r#"["front-proxy"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ];
        let data = usual.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        FrontProxy::published(&data)
    }

    fn fields(of: &[(&str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn proxy(name: &str) -> User {
        User::new(name.to_owned(), vec![])
    }

    #[test]
    fn the_caller_is_whom_the_proxy_names() {
        let given = fields(&[
            ("x-remote-user", "ann"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "web"),
            ("x-remote-group", "ops"),
            ("x-remote-extra-authentication.kubernetes.io%2fcredential-id", "JTI=1"),
            ("x-remote-extra-scopes", "a+b"),
            ("x-remote-extra-scopes", "c"),
        ]);
        let user = published(&[]).unwrap().handed_on(&proxy("front-proxy"), &given).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["web", "ops", AUTHENTICATED]);
        assert_eq!((user.token_id(), &user.extra["scopes"]), ("JTI=1", &vec!["a+b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn nobody_else_is_believed() {
        let given = fields(&[("x-remote-user", "ann")]);
        assert_eq!(published(&[]).unwrap().handed_on(&proxy("somebody"), &given), None);
        let any = published(&[("requestheader-allowed-names", "[]")]).unwrap();
        assert_eq!(any.handed_on(&proxy("somebody"), &given).unwrap().name, "ann");
        assert_eq!(any.handed_on(&proxy("somebody"), &fields(&[("x-remote-group", "system:masters")])), None);
        assert_eq!(any.handed_on(&proxy("somebody"), &fields(&[("x-remote-user", "")])), None);
    }

    #[test]
    fn who_is_anonymous_stays_so() {
        let given = fields(&[("x-remote-user", ANONYMOUS), ("x-remote-group", "system:unauthenticated")]);
        let user = published(&[]).unwrap().handed_on(&proxy("front-proxy"), &given).unwrap();
        assert_eq!(user.groups, ["system:unauthenticated"]);
    }

    #[test]
    fn a_publication_that_cannot_be_used_says_which_key() {
        let why = |more: &[(&str, &str)]| published(more).unwrap_err().to_string();
        assert!(why(&[("requestheader-client-ca-file", "")]).contains("requestheader-client-ca-file"));
        assert!(why(&[("requestheader-username-headers", "[]")]).contains("requestheader-username-headers"));
        assert!(why(&[("requestheader-allowed-names", "front-proxy")]).contains("requestheader-allowed-names"));
        assert!(why(&[("requestheader-group-headers", r#"["a b"]"#)]).contains("requestheader-group-headers"));
    }
}
