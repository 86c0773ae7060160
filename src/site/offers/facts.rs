//! Facts for an evaluation: clients, memberships, grants, configuration, packages; and what has to survive a restart because a
//! suspended object keeps what it last said.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use serde::{Deserialize, Serialize};

use super::{OfferError, OfferManager};
use crate::{
    api::{FORCE_REMOVAL_ANNOTATION, client_agent_config::ClientAgentConfig},
    content::digest::Digest,
    controller::{
        context::{Revision, SiteIdentity, Stores},
        package::obstacle,
        site::grants,
    },
    db::{Change, Database, DbError, devices, inventory, kept, locations, records},
    model::{identity::ObjectName, quantity::parse_bytes, state::LocationState},
    plan::{
        grants::{Granted, Grants},
        membership::{ChangedClients, Membership, Memberships, Rules},
        offer::{Compiled, PackageFacts, RecordFacts},
        query::ClientFacts,
    },
    trust::identity::Role,
    wire::{
        policy::{AgentConfig, POLL_INTERVAL_MIN},
        record::PackageRecord,
    },
};

/// What is known of all clients, and of their collections, kept up to date row by row.
#[derive(Default)]
pub(super) struct Clients {
    known: Option<BTreeMap<String, ClientFacts>>,
    blocked: BTreeSet<String>,
    changed: BTreeSet<String>,
    memberships: Memberships,
    grants: Grants,
}

impl Clients {
    /// Notes a change; whether it concerns clients.
    pub(super) fn note(&mut self, change: &Change) -> bool {
        match change {
            Change::Devices(id) | Change::Labels(id) | Change::Inventory(id) => {
                self.changed.insert(id.clone());
                true
            }
            _ => false,
        }
    }

    /// Reads everything again next time.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// Reads what changed. Gives what has to be evaluated again.
    pub(super) async fn refresh(&mut self, database: &Database) -> Result<ChangedClients, DbError> {
        let Some(known) = &mut self.known else {
            self.changed.clear();
            let (rows, mut inventories) = database
                .read(|connection| {
                    Ok((
                        devices::all(connection, Role::Client)?,
                        inventory::all(connection)?.into_iter().collect::<HashMap<_, _>>(),
                    ))
                })
                .await?;
            self.blocked = rows.iter().filter(|row| row.blocked).map(|row| row.id.clone()).collect();
            let facts = rows.into_iter().filter(|row| !row.blocked).map(|row| {
                let inventory = inventories.remove(&row.id).unwrap_or_default();
                (row.id.clone(), ClientFacts { id: row.id, labels: row.labels, inventory })
            });
            self.known = Some(facts.collect());
            return Ok(ChangedClients::All);
        };
        for id in &self.changed {
            let wanted = id.clone();
            let (row, inventory) = database
                .read(move |connection| Ok((devices::get(connection, &wanted)?, inventory::get(connection, &wanted)?)))
                .await?;
            known.remove(id);
            self.blocked.remove(id);
            match row.filter(|row| row.role == Role::Client) {
                Some(row) if row.blocked => {
                    self.blocked.insert(row.id);
                }
                Some(row) => {
                    let inventory = inventory.unwrap_or_default();
                    known.insert(id.clone(), ClientFacts { id: row.id, labels: row.labels, inventory });
                }
                None => {}
            }
        }
        // Only what was read is done with: after an error it is read again.
        Ok(ChangedClients::Only(std::mem::take(&mut self.changed)))
    }

    /// Ids of all clients that are not blocked.
    pub(super) fn admitted(&self) -> BTreeSet<String> {
        self.known.iter().flat_map(|known| known.keys().cloned()).collect()
    }

    /// Ids of blocked clients.
    pub(super) fn blocked(&self) -> Vec<String> {
        self.blocked.iter().cloned().collect()
    }

    /// Members of every collection, of which suspended ones keep theirs, and what namespaces may reach. Without the site's object
    /// that is nobody: who owns the site says so in it and nowhere else.
    pub(super) async fn reached(
        &mut self,
        stores: &Stores,
        site: &SiteIdentity,
        kept: &Kept,
        changed: ChangedClients,
    ) -> Result<(BTreeMap<ObjectName, Result<Membership, String>>, Granted), OfferError> {
        let mut all = BTreeMap::new();
        let mut rules = BTreeMap::new();
        for collection in stores.collections.state() {
            let name = ObjectName::new(collection.namespace().unwrap_or_default(), collection.name_any());
            if collection.spec.suspend
                && let Some(members) = kept.memberships.get(&name.to_string())
            {
                all.insert(name, Ok(Membership { members: members.clone(), failures: None }));
                continue;
            }
            rules.insert(name, Rules { direct: collection.spec.clients.clone(), query: collection.spec.query.clone() });
        }
        let names: Vec<ObjectName> = rules.keys().cloned().collect();
        // Many clients and long queries take seconds, which no thread has that answers requests. Whatever happens to it, what
        // was lent is read or evaluated anew.
        let (known, mut memberships) = (self.known.take(), std::mem::take(&mut self.memberships));
        let mut kept_grants = std::mem::take(&mut self.grants);
        let granted =
            stores.sites.get(&ObjectRef::new(&site.name)).map(|object| grants(&object.spec)).unwrap_or_default();
        let site = site.name.clone();
        let evaluated = tokio::task::spawn_blocking(move || {
            let known = known.unwrap_or_default();
            memberships.update(rules, &known, &changed);
            let granted = kept_grants.update(&site, &granted, &known, &changed);
            (known, memberships, kept_grants, granted)
        });
        let (known, memberships, kept_grants, granted) = evaluated.await?;
        (self.known, self.memberships, self.grants) = (Some(known), memberships, kept_grants);
        all.extend(names.into_iter().filter_map(|name| self.memberships.of(&name).map(|one| (name, one))));
        Ok((all, granted))
    }
}

/// What survives restarts: memberships of suspended collections, a suspended configuration, the records offered last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    memberships: BTreeMap<String, BTreeSet<String>>,
    config: Option<AgentConfig>,
    offered: BTreeMap<String, Digest>,
}

/// The name under which it is kept.
const TOPIC: &str = "offer-manager";

impl Kept {
    pub(super) async fn read(database: &Database) -> Result<Self, DbError> {
        let text = database.read(|connection| kept::get(connection, TOPIC)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Writes what the next evaluation, or one after a restart, has to know; nothing if it is the same.
    pub(super) async fn update(
        &self,
        OfferManager { database, stores, site, .. }: &OfferManager,
        memberships: &BTreeMap<ObjectName, Result<Membership, String>>,
        config: &AgentConfig,
        compiled: &Compiled,
        revision: &Revision,
    ) -> Result<(), DbError> {
        let suspended = stores.collections.state();
        let memberships = suspended
            .iter()
            .filter(|one| one.spec.suspend)
            .filter_map(|one| {
                let name = ObjectName::new(one.namespace().unwrap_or_default(), one.name_any());
                let members = memberships.get(&name)?.as_ref().ok()?.members.clone();
                Some((name.to_string(), members))
            })
            .collect();
        let mut offered = self.offered.clone();
        offered.retain(|name, _| {
            ObjectName::parse(name).is_some_and(|name| {
                let object = stores.packages.get(&ObjectRef::new(&name.name).within(&name.namespace));
                object.is_some() || revision.declares(&name)
            })
        });
        offered.extend(compiled.offered.iter().map(|(name, digest)| (name.to_string(), *digest)));
        let config = suspended_config(stores, site).then(|| config.clone());
        let now = Self { memberships, config, offered };
        if now == *self {
            return Ok(());
        }
        let text = serde_json::to_string(&now)?;
        database.write(move |tx| kept::put(tx, TOPIC, &text)).await
    }
}

fn own_config(stores: &Stores, site: &SiteIdentity) -> Option<std::sync::Arc<ClientAgentConfig>> {
    stores.configs.get(&ObjectRef::new(&site.name))
}

fn suspended_config(stores: &Stores, site: &SiteIdentity) -> bool {
    own_config(stores, site).is_some_and(|config| config.spec.suspend)
}

/// How the agents of this site behave.
pub(super) fn config(stores: &Stores, site: &SiteIdentity, kept: &Kept) -> AgentConfig {
    let Some(object) = own_config(stores, site) else { return AgentConfig::default() };
    if object.spec.suspend
        && let Some(config) = &kept.config
    {
        return config.clone();
    }
    AgentConfig {
        enabled: object.spec.enabled,
        poll_interval: object.spec.poll_interval.max(POLL_INTERVAL_MIN),
        cache_limit_bytes: parse_bytes(&object.spec.cache_limit).unwrap_or(AgentConfig::default().cache_limit_bytes),
        report_output: object.spec.report_output,
        access_points: Vec::new(),
    }
}

/// Records of every package: the current one, the newest whose content is there, and the one offered last.
pub(super) async fn packages(
    database: &Database,
    stores: &Stores,
    kept: &Kept,
    revision: &Revision,
) -> Result<BTreeMap<ObjectName, PackageFacts>, DbError> {
    let offered = kept.offered.clone();
    let (current, offerable, previous, holding) = database
        .read(move |connection| {
            let previous =
                offered.values().map(|digest| records::get(connection, digest)).collect::<Result<Vec<_>, _>>()?;
            let installed = |content: &Digest| -> Result<bool, DbError> {
                Ok(locations::holding(connection, content)?.iter().any(|row| row.state == LocationState::Installed))
            };
            let mut holding = BTreeMap::new();
            for content in previous.iter().flatten().filter_map(|row| row.content) {
                holding.insert(content, installed(&content)?);
            }
            Ok((records::all_current(connection)?, records::offerable(connection)?, previous, holding))
        })
        .await?;
    let available: BTreeSet<_> = offerable.iter().map(|row| row.digest).collect();
    // One without a record yet exists all the same: whoever names it waits.
    let mut packages: BTreeMap<ObjectName, PackageFacts> = stores
        .packages
        .state()
        .iter()
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .map(|object| {
            let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
            (name, PackageFacts { obstacle: obstacle(object), ..PackageFacts::default() })
        })
        .collect();
    for row in current.into_iter().chain(offerable).chain(previous.into_iter().flatten()) {
        let name = row.key.package.clone();
        // One that somebody deleted and git sync declares is there again in a moment: its offers stay.
        let comes_back = revision.declares(&name);
        let object = stores.packages.get(&ObjectRef::new(&name.name).within(&name.namespace));
        // A forced removal withdraws the offers; any other waits for the advertisements to go.
        let goes = object.is_none_or(|object| {
            object.metadata.deletion_timestamp.is_some() && object.annotations().contains_key(FORCE_REMOVAL_ANNOTATION)
        });
        if goes && !comes_back {
            continue;
        }
        let Ok(record) = PackageRecord::decode(row.envelope.payload.as_bytes()) else { continue };
        let facts = packages.entry(name.clone()).or_default();
        facts.offered = kept.offered.get(&name.to_string()).copied();
        if facts.records.iter().all(|one| one.digest != row.digest) {
            let here = row.content.is_none_or(|content| holding.get(&content).copied().unwrap_or(false));
            let is_available = available.contains(&row.digest) || here;
            facts.records.push(RecordFacts { digest: row.digest, record, available: is_available });
        }
    }
    Ok(packages)
}
