//! In whose name a caller speaks: `kubectl --as`, `--as-group`, `--as-uid`. What that user may do is `access`'s business.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{
    access::{ANONYMOUS, AUTHENTICATED, User},
    failure::Failure,
    path, shown,
};

/// The group of everybody who is not known.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// The caller, or the user in whose name an administrator speaks.
pub(super) fn spoken_for(caller: User, headers: &HeaderMap) -> Result<User, Failure> {
    let wanted = wanted(headers);
    if wanted == User::default() {
        return Ok(caller);
    }
    if wanted.name.is_empty() {
        let why = format!("requested {} without impersonating a user name", told(&wanted));
        return Err(Failure::bad_request(why));
    }
    if !caller.may_impersonate() {
        let why = format!(
            "User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            caller.name
        );
        return Err(Failure::forbidden("", "users", &wanted.name, &why));
    }
    let groups = groups(&wanted.name, wanted.groups);
    Ok(User { groups, ..wanted })
}

/// The caller of a server that lets nobody speak for another: what somebody in the cluster may do in another's name, its API server
/// knows and this one cannot ask for.
pub(super) fn speaks_for_itself(caller: User, headers: &HeaderMap) -> Result<User, Failure> {
    let wanted = wanted(headers);
    if wanted == User::default() {
        return Ok(caller);
    }
    let why = format!("User {:?} cannot speak for others here (Impersonate headers); ask as yourself", caller.name);
    Err(Failure::forbidden("", "users", &wanted.name, &why))
}

/// The groups of a user who is spoken for: those of a service account if none are named, and the one that says whether the user is
/// known.
fn groups(name: &str, mut groups: Vec<String>) -> Vec<String> {
    let account = name.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    if let (true, Some((namespace, _))) = (groups.is_empty(), account) {
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let said = groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
    if !said {
        groups.push(if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED }.to_owned());
    }
    groups
}

/// What the headers say, as they say it.
fn wanted(headers: &HeaderMap) -> User {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let one = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let extra: BTreeMap<String, Vec<String>> = headers
        .keys()
        .filter_map(|name| {
            let key = name.as_str().strip_prefix("impersonate-extra-")?;
            Some((path::decoded(key).unwrap_or_else(|| key.to_owned()), texts(name.as_str())))
        })
        .collect();
    User {
        name: one("impersonate-user"),
        groups: texts("impersonate-group"),
        uid: one("impersonate-uid"),
        extra,
        ..User::default()
    }
}

/// A user as Go prints one.
fn told(user: &User) -> String {
    let list = |items: &[String]| match items {
        [] => "[]string(nil)".to_owned(),
        items => format!("[]string{{{}}}", items.iter().map(|item| shown::quoted(item)).collect::<Vec<_>>().join(", ")),
    };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{}:{}", shown::quoted(key), list(values))).collect();
    let extra = match &extra[..] {
        [] => "map[string][]string(nil)".to_owned(),
        some => format!("map[string][]string{{{}}}", some.join(", ")),
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}}",
        shown::quoted(&user.name),
        shown::quoted(&user.uid),
        list(&user.groups)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::Identity;

    fn spoken(caller: &Identity, headers: &[(&'static str, &str)]) -> Result<User, Failure> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        spoken_for(User::from(caller), &headers)
    }

    #[test]
    fn beside_a_cluster_everybody_speaks_for_himself() {
        let headers = |of: &[(&'static str, &str)]| -> HeaderMap {
            of.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let admin = User::from(&Identity::Admin);
        assert_eq!(speaks_for_itself(admin.clone(), &headers(&[])).unwrap(), admin);
        for one in [("impersonate-user", "jane"), ("impersonate-group", "devs")] {
            let refused = speaks_for_itself(admin.clone(), &headers(&[one])).unwrap_err();
            assert_eq!(refused.code, 403);
            assert!(refused.message.contains("ask as yourself"), "{}", refused.message);
        }
    }

    #[test]
    fn an_administrator_speaks_for_others_and_nobody_else_does() {
        let jane = [("impersonate-user", "jane"), ("impersonate-group", "devs"), ("impersonate-extra-a%2fb", "x")];
        let user = spoken(&Identity::Admin, &jane).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.extra, BTreeMap::from([("a/b".to_owned(), vec!["x".to_owned()])]));
        assert_eq!(user.groups, ["devs", AUTHENTICATED]);
        let account = spoken(&Identity::Admin, &[("impersonate-user", "system:serviceaccount:ns:a")]).unwrap();
        assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
        assert_eq!(spoken(&Identity::Viewer, &jane).unwrap_err().code, 403);
        assert_eq!(spoken(&Identity::Viewer, &[]).unwrap(), User::from(&Identity::Viewer));
        let nobody = spoken(&Identity::Admin, &[("impersonate-group", "devs"), ("impersonate-extra-s", "x")]);
        let refused = nobody.unwrap_err();
        assert_eq!(refused.code, 400);
        assert_eq!(
            refused.message,
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"devs\"}, \
             Extra:map[string][]string{\"s\":[]string{\"x\"}}} without impersonating a user name"
        );
    }
}
