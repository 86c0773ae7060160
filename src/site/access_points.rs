//! Which client access points the site has: each tells its address when it asks for the snapshot, and clients hear of
//! all of them in their policy and when they join.

use std::collections::BTreeMap;

use crate::{
    clock,
    db::{Database, DbError, devices, kept},
    trust::identity::Role,
};

/// The name under which the addresses are kept.
const TOPIC: &str = "access-points";
/// A base URL is a scheme, a name and a port.
pub(super) const URL_BYTES_MAX: usize = 300;

/// Remembers where an access point is reached, and that it lives. `false` if the address was known.
pub(super) async fn note(database: &Database, id: &str, url: &str) -> Result<bool, DbError> {
    let (id, url, now_ms) = (id.to_owned(), url.to_owned(), clock::now_unix_ms());
    let wanted = id.clone();
    let (known, device) = database
        .read(move |connection| Ok((kept::get(connection, TOPIC)?, devices::get(connection, &wanted)?)))
        .await?;
    let moved = parse(known.as_deref()).get(&id) != Some(&url);
    if !moved && !device.is_some_and(|device| device.seen_is_due(now_ms)) {
        return Ok(false);
    }
    database
        .write(move |tx| {
            devices::system_seen(tx, &id, now_ms)?;
            if !moved {
                return Ok(());
            }
            let mut all = parse(kept::get(tx, TOPIC)?.as_deref());
            all.insert(id, url);
            kept::put(tx, TOPIC, &serde_json::to_string(&all)?)
        })
        .await?;
    Ok(moved)
}

/// Base URLs of all access points: the site's own first, then those of devices that are not blocked, by name.
pub(super) async fn urls(database: &Database, own: &str) -> Result<Vec<String>, DbError> {
    let mut urls = vec![own.to_owned()];
    let others = database
        .read(|connection| {
            let known = parse(kept::get(connection, TOPIC)?.as_deref());
            let devices = devices::all(connection, Role::Cap)?;
            Ok(devices
                .into_iter()
                .filter(|device| !device.blocked)
                .filter_map(move |device| known.get(&device.id).cloned())
                .collect::<Vec<_>>())
        })
        .await?;
    urls.extend(others);
    Ok(urls)
}

fn parse(text: Option<&str>) -> BTreeMap<String, String> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
