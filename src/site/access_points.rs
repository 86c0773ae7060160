//! Which client access points the site has: each tells its address when it asks for the snapshot, and clients hear of
//! all of them in their policy and when they join.

use std::collections::BTreeMap;

use crate::{
    db::{Database, DbError, devices, kept},
    trust::identity::Role,
};

/// The name under which the addresses are kept.
const TOPIC: &str = "access-points";
/// A base URL is a scheme, a name and a port.
pub(super) const URL_BYTES_MAX: usize = 300;

/// Remembers where an access point is reached. `false` if that was known.
pub(super) async fn note(database: &Database, id: &str, url: &str) -> Result<bool, DbError> {
    let known = database.read(|connection| kept::get(connection, TOPIC)).await?;
    if parse(known.as_deref()).get(id).is_some_and(|known| known == url) {
        return Ok(false);
    }
    let (id, url) = (id.to_owned(), url.to_owned());
    database
        .write(move |tx| {
            let mut all = parse(kept::get(tx, TOPIC)?.as_deref());
            all.insert(id, url);
            kept::put(tx, TOPIC, &serde_json::to_string(&all)?)
        })
        .await?;
    Ok(true)
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
