//! The devices that an administrator refuses, kept at hand for the listeners: a block acts at once.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::{
    db::{self, Database},
    wire::turned_away::TurnedAway,
};

/// Keeps the list of devices that are blocked or deleted, so that a block acts at once.
pub(super) async fn refuse(database: Database, refused: watch::Sender<BTreeMap<String, TurnedAway>>) {
    use tokio::sync::broadcast::error::RecvError;
    let mut changes = database.subscribe();
    loop {
        match database.read(db::devices::turned_away).await {
            Ok(devices) => {
                refused.send_replace(devices);
            }
            Err(error) => tracing::error!(%error, "the list of refused devices could not be read"),
        }
        loop {
            match changes.recv().await {
                Ok(db::Change::Devices(_)) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}
