//! Names of distribution points and access points: which id a name gives, and whether it may still be given out. A name is given
//! out once; that of the site is its built-in points'.

use rusqlite::Connection;

use crate::{
    db::{
        DbError,
        devices::{self, Admission},
    },
    trust::identity::Role,
};

/// The id of a point. Ids are unique among all devices, and a distribution point and an access point on one host share a name.
pub(super) fn id_of(role: Role, name: &str) -> String {
    if role == Role::Cap && !name.starts_with("cap-") { format!("cap-{name}") } else { name.to_owned() }
}

/// What people call a role.
const fn called(role: Role) -> &'static str {
    if matches!(role, Role::Cap) { "access point" } else { "distribution point" }
}

/// Why a name is the site's own; `None` if it is not.
pub(super) fn builtin(site: &str, role: Role, name: &str) -> Option<String> {
    let is_its = role != Role::Client && name == site;
    is_its.then(|| format!("'{name}' is the name of the site and of its built-in {}; choose another", called(role)))
}

/// Why no machine can join under this name any more; `None` if one can.
pub(super) fn taken(connection: &Connection, site: &str, role: Role, name: &str) -> Result<Option<String>, DbError> {
    if let Some(why) = builtin(site, role, name) {
        return Ok(Some(why));
    }
    Ok(match devices::admission(connection, &id_of(role, name))? {
        Admission::Unknown => None,
        Admission::Gone => Some(format!("'{name}' was the name of a machine that was deleted; choose another")),
        Admission::Admitted(row) | Admission::Blocked(row) => Some(format!(
            "'{name}' is in use by the {} on {}; choose another, and a machine that lost its certificate comes back without a \
             join file",
            called(row.role),
            row.hostname
        )),
    })
}
