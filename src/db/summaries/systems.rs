//! The site system summary: whether every distribution point and client access point answers, and what its storage has
//! left. The site's own storage is measured by the site and judged by the same thresholds.

use rusqlite::Connection;

use crate::{
    db::{DbError, devices, points},
    plan::summary::{Health, system_health},
    trust::identity::Role,
    wire::points::DriveReport,
};

/// One storage object of a system, or the system itself if it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemStatus {
    /// The system's name.
    pub system: String,
    /// What it is.
    pub role: Role,
    /// Whether it was heard of in time.
    pub available: bool,
    /// Path of the drive; empty for a system without storage.
    pub storage: String,
    /// Free bytes of the drive.
    pub free_bytes: u64,
    /// All bytes of the drive.
    pub total_bytes: u64,
    /// Critical if it does not answer, else by its storage.
    pub health: Health,
}

/// Every distribution point and client access point, by name. A system is available if it was heard of within
/// `silence_ms`, which the caller sets to some heartbeats. A drive that takes no content is not judged by its space.
///
/// # Errors
/// If the database cannot be read.
pub fn site_systems(connection: &Connection, now_ms: i64, silence_ms: i64) -> Result<Vec<SystemStatus>, DbError> {
    let in_time = |last_ms: i64| last_ms > now_ms - silence_ms;
    let system = |name: &str, role, available| SystemStatus {
        system: name.to_owned(),
        role,
        available,
        storage: String::new(),
        free_bytes: 0,
        total_bytes: 0,
        health: system_health(available, None),
    };
    // One that is not there is worse than one that takes nothing.
    let storage =
        |drive: &DriveReport| (drive.usable || drive.total_bytes == 0).then_some((drive.free_bytes, drive.total_bytes));
    let mut systems = Vec::new();
    let reported = points::all(connection)?;
    for point in &reported {
        let available = in_time(point.reported_ms);
        let one = system(&point.name, Role::Dp, available);
        systems.extend(point.drives.iter().map(|drive| SystemStatus {
            storage: drive.path.clone(),
            free_bytes: drive.free_bytes,
            total_bytes: drive.total_bytes,
            health: system_health(available, storage(drive)),
            ..one.clone()
        }));
        if point.drives.is_empty() {
            systems.push(one);
        }
    }
    for device in devices::all(connection, Role::Dp)? {
        if !reported.iter().any(|point| point.name == device.name) {
            systems.push(system(&device.name, Role::Dp, false));
        }
    }
    for device in devices::all(connection, Role::Cap)? {
        systems.push(system(&device.name, Role::Cap, in_time(device.last_seen_ms)));
    }
    systems.sort_by(|a, b| (&a.system, a.role, &a.storage).cmp(&(&b.system, b.role, &b.storage)));
    Ok(systems)
}
