//! Who asks, and what they may do. Three kinds of identity with fixed rules; the same rules answer requests,
//! SelfSubjectAccessReview and SelfSubjectRulesReview.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{delegated::Delegated, failure::Failure};

/// Who shows no certificate: reaches health and version only.
pub(super) const ANONYMOUS: &str = "system:anonymous";
/// The group of everybody who is known.
pub(super) const AUTHENTICATED: &str = "system:authenticated";

/// Whom a client acts as. The certificate for it has the identity's user as CN and its group as O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// May do everything.
    Admin,
    /// May get, list and watch everything but Secrets.
    Viewer,
    /// One of Waybill's own parts: everything on waybill.dev kinds, events, leases and namespaces; reads the fleet group,
    /// where only administrators act; secrets by name.
    Component(String),
}

/// What the API server knows of a user by a token of a ServiceAccount: the token's own name.
const TOKEN_ID: &str = "authentication.kubernetes.io/credential-id";
/// The group of administrators' certificates.
pub const ADMINS: &str = "waybill:admins";
/// The group of viewers' certificates.
pub const VIEWERS: &str = "waybill:viewers";
/// The group of the certificates of Waybill's own parts.
pub const COMPONENTS: &str = "waybill:components";

impl Identity {
    /// The user name, as in `kubectl auth whoami`.
    #[must_use]
    pub fn user(&self) -> String {
        match self {
            Identity::Admin => "waybill:admin".into(),
            Identity::Viewer => "waybill:viewer".into(),
            Identity::Component(name) => format!("waybill:component:{name}"),
        }
    }

    /// The group that carries the rights.
    #[must_use]
    pub fn group(&self) -> &'static str {
        match self {
            Identity::Admin => ADMINS,
            Identity::Viewer => VIEWERS,
            Identity::Component(_) => COMPONENTS,
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    /// As a cluster's API server knows the user; empty for those of this server's own certificates.
    pub(super) uid: String,
    /// Likewise.
    pub(super) extra: BTreeMap<String, Vec<String>>,
    /// What names the credential that the caller showed; empty for one in this process and for one spoken for.
    pub(super) credential: String,
}

impl From<&Identity> for User {
    fn from(identity: &Identity) -> User {
        User::new(identity.user(), vec![identity.group().to_owned()])
    }
}

impl User {
    /// A caller of these groups; everybody who is authenticated is in one more.
    pub(super) fn new(name: String, mut groups: Vec<String>) -> User {
        groups.push(AUTHENTICATED.into());
        User { name, groups, ..User::default() }
    }

    /// Who shows neither certificate nor token.
    pub(super) fn anonymous() -> User {
        User { name: ANONYMOUS.to_owned(), ..User::default() }
    }

    /// The name of the token that was shown, as the cluster's API server calls it; empty if it has none.
    pub(super) fn token_id(&self) -> &str {
        self.extra.get(TOKEN_ID).and_then(|ids| ids.first()).map_or("", String::as_str)
    }

    /// Whether the caller may speak in another's name.
    pub(super) fn may_impersonate(&self) -> bool {
        self.groups.iter().any(|g| g == ADMINS)
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Action<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// One permission: every combination of its members. `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    verbs: Vec<&'static str>,
    groups: Vec<String>,
    /// `resource` or `resource/subresource`.
    resources: Vec<&'static str>,
    /// Holds only where the request names one object.
    named_only: bool,
}

/// Who decides about callers.
pub(super) enum Authority {
    /// This server, by its own certificates and rules.
    Own(Access),
    /// A cluster's API server.
    Cluster(Arc<Delegated>),
}

impl Authority {
    /// Whether the user may do this to a resource.
    pub(super) async fn allows(&self, user: &User, action: Action<'_>) -> Result<bool, Failure> {
        match self {
            Self::Own(access) => Ok(access.allows(user, action)),
            Self::Cluster(cluster) => cluster.allows(user, action).await,
        }
    }

    /// Whether the user may use this path outside the resources: discovery, schemas, health.
    pub(super) async fn allows_path(&self, user: &User, verb: &str, path: &str) -> Result<bool, Failure> {
        match self {
            Self::Own(access) => Ok(access.allows_path(user, verb, path)),
            Self::Cluster(cluster) => cluster.allows_path(user, verb, path).await,
        }
    }
}

/// The rules of this server.
#[derive(Debug)]
pub(super) struct Access {
    /// Groups of the served kinds beside the core group.
    groups: Vec<String>,
}

const READ: &[&str] = &["get", "list", "watch"];
const REVIEW_GROUPS: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

impl Access {
    pub(super) fn new(groups: impl IntoIterator<Item = String>) -> Access {
        let own = |g: &String| !g.is_empty() && !REVIEW_GROUPS.contains(&g.as_str());
        Access { groups: groups.into_iter().filter(own).collect() }
    }

    /// Whether the user may do this to a resource.
    pub(super) fn allows(&self, user: &User, action: Action<'_>) -> bool {
        self.rules(user).iter().any(|r| r.allows(action))
    }

    /// Whether the user may use this path outside the resources: discovery, schemas, health.
    pub(super) fn allows_path(&self, user: &User, verb: &str, path: &str) -> bool {
        let everything = user.groups.iter().any(|g| g == ADMINS);
        let known = user.groups.iter().any(|g| g == VIEWERS || g == COMPONENTS);
        let open = |p: &&'static str| path == *p || path.starts_with(&format!("{p}/"));
        everything
            || (verb == "get" && (known || PUBLIC_PATHS.iter().any(open)))
            || (verb == "get" && user.groups.iter().any(|g| g == AUTHENTICATED) && DISCOVERY_PATHS.iter().any(open))
    }

    fn rules(&self, user: &User) -> Vec<Rule> {
        let in_group = |group: &str| user.groups.iter().any(|g| g == group);
        let mut rules = vec![];
        if in_group(AUTHENTICATED) {
            rules.push(rule(&["create"], REVIEW_GROUPS, &["*"]));
        }
        if in_group(ADMINS) {
            rules.push(rule(&["*"], &["*"], &["*"]));
        }
        if in_group(VIEWERS) {
            rules.push(rule(READ, &[""], &["configmaps", "events", "namespaces", "namespaces/status"]));
            rules.push(Rule { groups: self.groups.clone(), ..rule(READ, &[], &["*"]) });
        }
        if in_group(COMPONENTS) {
            rules.push(rule(&["*"], &["waybill.dev"], &["*"]));
            rules.push(rule(READ, &["fleet.waybill.dev"], &["*"]));
            rules.push(rule(&["*"], &["", "events.k8s.io"], &["events"]));
            rules.push(rule(&["*"], &["coordination.k8s.io"], &["leases"]));
            rules.push(rule(&["*"], &[""], &["namespaces", "namespaces/status"]));
            rules.push(rule(READ, &["apiextensions.k8s.io"], &["*"]));
            let secrets = rule(&["get", "update", "patch", "delete"], &[""], &["secrets"]);
            rules.push(Rule { named_only: true, ..secrets });
            rules.push(rule(&["create"], &[""], &["secrets"]));
        }
        rules
    }

    /// The status of a SelfSubjectRulesReview.
    pub(super) fn rules_status(&self, user: &User) -> Value {
        let rules: Vec<Value> = self
            .rules(user)
            .iter()
            .map(|r| json!({"verbs": r.verbs, "apiGroups": r.groups, "resources": r.resources}))
            .collect();
        let paths: Vec<String> =
            PUBLIC_PATHS.iter().chain(DISCOVERY_PATHS).flat_map(|p| [(*p).to_owned(), format!("{p}/*")]).collect();
        json!({"resourceRules": rules, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": paths}],
            "incomplete": false})
    }
}

/// Paths that everybody may read, with or without a certificate.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];
/// Paths that everybody with a certificate may read.
const DISCOVERY_PATHS: &[&str] = &["/api", "/apis", "/openapi"];

/// Whether a path is open to callers without a certificate.
pub(super) fn is_public(path: &str) -> bool {
    PUBLIC_PATHS.iter().any(|p| path == *p || path.strip_prefix(p).is_some_and(|rest| rest.starts_with('/')))
}

fn rule(verbs: &[&'static str], groups: &[&str], resources: &[&'static str]) -> Rule {
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    Rule { verbs: verbs.to_vec(), groups, resources: resources.to_vec(), named_only: false }
}

impl Rule {
    fn allows(&self, a: Action<'_>) -> bool {
        let resource =
            if a.subresource.is_empty() { a.resource.to_owned() } else { format!("{}/{}", a.resource, a.subresource) };
        let has = |list: &[&str], what: &str| list.iter().any(|x| *x == "*" || *x == what);
        has(&self.verbs, a.verb)
            && self.groups.iter().any(|g| g == "*" || g == a.group)
            && has(&self.resources, &resource)
            && !(self.named_only && a.name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn can(identity: Identity, verb: &str, group: &str, resource: &str, name: &str) -> bool {
        let access = Access::new(["".to_owned(), "waybill.dev".into(), "coordination.k8s.io".into()]);
        access.allows(&User::from(&identity), Action { verb, group, resource, name, ..Action::default() })
    }

    #[test]
    fn the_viewer_reads_everything_but_secrets_and_writes_nothing() {
        assert!(can(Identity::Viewer, "list", "waybill.dev", "packages", ""));
        assert!(can(Identity::Viewer, "get", "", "configmaps", "x"));
        assert!(!can(Identity::Viewer, "get", "", "secrets", "x"));
        assert!(!can(Identity::Viewer, "list", "", "secrets", ""));
        assert!(!can(Identity::Viewer, "patch", "waybill.dev", "packages", "x"));
        assert!(can(Identity::Viewer, "create", "authorization.k8s.io", "selfsubjectaccessreviews", ""));
    }

    #[test]
    fn only_administrators_act_on_the_fleet() {
        let access = Access::new(["fleet.waybill.dev".to_owned()]);
        let may = |identity: &Identity, verb: &str, resource: &str| {
            let action = Action { verb, group: "fleet.waybill.dev", resource, ..Action::default() };
            access.allows(&User::from(identity), action)
        };
        for identity in [Identity::Viewer, Identity::Component("controller".into())] {
            assert!(may(&identity, "list", "clients"));
            assert!(!may(&identity, "create", "enrolmenttokens") && !may(&identity, "delete", "clients"));
        }
        assert!(may(&Identity::Admin, "create", "enrolmenttokens"));
    }

    #[test]
    fn a_component_reaches_secrets_by_name_only() {
        let part = || Identity::Component("controller".into());
        assert!(can(part(), "get", "", "secrets", "keys"));
        assert!(!can(part(), "list", "", "secrets", ""));
        assert!(!can(part(), "get", "", "configmaps", "x"));
        assert!(can(part(), "delete", "waybill.dev", "packages", "x"));
    }

    #[test]
    fn health_is_open_and_the_rest_is_not() {
        assert!(is_public("/readyz/ping") && is_public("/version"));
        assert!(!is_public("/versions") && !is_public("/api"));
    }
}
