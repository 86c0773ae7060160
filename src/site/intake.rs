//! What clients and points leave at this site: verified, stored durably, then acknowledged. The built-in access point
//! brings it directly, others over the network; both end here.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::runtime::reflector::ObjectRef;

use crate::{
    cap::{Refusal, Upstream},
    clock,
    content::digest::Digest,
    controller::context::{SiteIdentity, Stores},
    db::{
        Database, DbError, devices,
        inventory::{self, Kept},
        locations,
        messages::{self, Sender},
        report,
        versions::{self, PackageKey},
    },
    model::{
        identity::ObjectName,
        message::{Component, DISTRIBUTION_POINT, MessageType, Severity, StatusMessage},
        reason::Reason,
    },
    trust::{
        device,
        envelope::Envelope,
        identity::{self, PeerIdentity, Role},
        keys::SiteKey,
    },
    wire::{
        access::{BadContent, Heard},
        inventory::{INVENTORY_BYTES_MAX, INVENTORY_PURPOSE, InventoryReport, SignedInventory},
        points::{PointReport, VersionRef, VersionReport},
        status::{Outcome, RECEIPT_TYPE, Receipt, STATUS_PURPOSE, SignedBatch, StatusAck, StatusBatch},
    },
};

/// Takes in what devices leave.
#[derive(Clone)]
pub(super) struct Intake {
    /// The site database.
    pub database: Database,
    /// Certificate of the device authority, DER.
    pub ca: Arc<[u8]>,
    /// Signs receipts.
    pub key: Arc<SiteKey>,
    /// Who this site is; its name is the system its own messages come from.
    pub site: SiteIdentity,
    /// The Kubernetes API as the watches see it: which packages there are.
    pub stores: Stores,
}

fn unavailable(error: &DbError) -> Refusal {
    tracing::error!(%error, "the site database failed; devices keep what they have");
    Refusal::Unavailable("the site cannot store it now; keep it and try again".to_owned())
}

fn stored<T>(result: Result<T, DbError>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        DbError::Limit { .. } | DbError::NotFound(_) => Refusal::Invalid(error.to_string()),
        other => unavailable(&other),
    })
}

/// A text with the signature of a device over it.
struct Signed<'a> {
    text: &'a str,
    signature: &'a str,
    certificate: &'a str,
}

impl Intake {
    /// Checks that `client` itself signed a text, whoever brings it.
    fn check_signer(&self, client: &str, purpose: &str, signed: &Signed<'_>) -> Result<(), Refusal> {
        let forbidden = |text: &str| Refusal::Forbidden(text.to_owned());
        let chain = identity::certificates(signed.certificate).map_err(|_| forbidden("it carries no certificate"))?;
        let certificate = &chain[0];
        let signer = PeerIdentity::verified(certificate, &self.ca, clock::now())
            .map_err(|_| forbidden("its certificate is not a valid one of this site"))?;
        if signer.role != Role::Client || signer.id != client {
            return Err(forbidden("it was signed by another device"));
        }
        device::verify(certificate, purpose, signed.text.as_bytes(), signed.signature)
            .map_err(|_| forbidden("its signature does not verify"))
    }

    fn verified(&self, client: &str, signed: &SignedBatch) -> Result<StatusBatch, Refusal> {
        let SignedBatch { batch, signature, certificate } = signed;
        self.check_signer(client, STATUS_PURPOSE, &Signed { text: batch, signature, certificate })?;
        let batch: StatusBatch = serde_json::from_str(batch)
            .map_err(|error| Refusal::Invalid(format!("the batch cannot be read: {error}")))?;
        if batch.sender != client {
            return Err(Refusal::Forbidden("the batch names another sender".to_owned()));
        }
        Ok(batch)
    }

    /// Keeps an inventory that its client signed, unless a later one is here; gives its number.
    async fn keep_inventory(&self, client: String, signed: &SignedInventory) -> Result<u64, Refusal> {
        let SignedInventory { report, signature, certificate } = signed;
        self.check_signer(&client, INVENTORY_PURPOSE, &Signed { text: report, signature, certificate })?;
        if report.len() > INVENTORY_BYTES_MAX {
            return Err(Refusal::Invalid(format!("an inventory has {INVENTORY_BYTES_MAX} bytes at most")));
        }
        let report: InventoryReport = serde_json::from_str(report)
            .map_err(|error| Refusal::Invalid(format!("the inventory cannot be read: {error}")))?;
        if report.client != client {
            return Err(Refusal::Forbidden("the inventory names another client".to_owned()));
        }
        let (sequence, now_ms) = (report.sequence, clock::now_unix_ms());
        let kept = self
            .database
            .write(move |tx| {
                let kept = inventory::store(tx, &client, &report.inventory, sequence, now_ms)?;
                if kept != Kept::Stale {
                    devices::seen(tx, &client, now_ms)?;
                }
                Ok(kept)
            })
            .await;
        match stored(kept)? {
            Kept::Stale => Err(Refusal::Invalid("the site has a later inventory of this client".to_owned())),
            Kept::New | Kept::Same => Ok(sequence),
        }
    }

    /// Takes a point's report with its messages.
    pub(super) async fn report(&self, point: &str, point_report: PointReport) -> Result<StatusAck, Refusal> {
        let (id, site, now_ms) = (point.to_owned(), self.site.name.clone(), clock::now_unix_ms());
        let outbox = point_report.outbox.clone();
        let result = self
            .database
            .write(move |tx| {
                let taken = report::take(tx, &id, &id, &point_report, now_ms)?;
                let sender = Sender { id: &id, role: Role::Dp, name: &id, site: &site };
                let acked = messages::store_batch(tx, &sender, &point_report.outbox, &point_report.messages, now_ms)?;
                Ok((acked, taken.unknown))
            })
            .await;
        let (acked_through, unknown) = stored(result)?;
        if !unknown.is_empty() {
            self.remember(point, unknown).await?;
        }
        Ok(StatusAck { outbox, acked_through })
    }

    /// Versions that a point holds and this database knows nothing of: it was lost. Of packages that are declared they
    /// come back into the ledger, and placing the package decides whether they stay; of others only their numbers are
    /// remembered, and the point removes what nobody assigns to it.
    async fn remember(&self, point: &str, unknown: Vec<VersionReport>) -> Result<(), Refusal> {
        if self.stores.packages.wait_until_ready().await.is_err() {
            return Err(Refusal::Unavailable("the site is ending; report again".to_owned()));
        }
        let is_declared = |package: &ObjectName| {
            let object = self.stores.packages.get(&ObjectRef::new(&package.name).within(&package.namespace));
            object.is_some_and(|object| object.metadata.deletion_timestamp.is_none())
        };
        let unknown: Vec<_> =
            unknown.into_iter().map(|version| (is_declared(&version.version.package), version)).collect();
        let (point, site, now_ms) = (point.to_owned(), self.site.id.clone(), clock::now_unix_ms());
        let result = self
            .database
            .write(move |tx| {
                for (is_declared, report) in &unknown {
                    let VersionRef { package, source_version, content } = &report.version;
                    let key = PackageKey { site: site.clone(), package: package.clone() };
                    if !is_declared {
                        versions::given_out(tx, &key, *source_version, content)?;
                        continue;
                    }
                    match versions::restore(tx, &key, *source_version, content, now_ms) {
                        Ok(_) if report.path.is_some() => drop(locations::found(tx, &point, report, now_ms)?),
                        Ok(_) => {}
                        Err(DbError::Conflict(why)) => {
                            tracing::warn!(%point, %why, "a reported version is not taken in")
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .await;
        stored(result)
    }
}

impl Intake {
    /// Stores a client's batch; up to where its outbox is stored now.
    async fn store(&self, client: String, batch: SignedBatch) -> Result<u64, Refusal> {
        let batch = self.verified(&client, &batch)?;
        let (site, now_ms) = (self.site.name.clone(), clock::now_unix_ms());
        let result = self
            .database
            .write(move |tx| {
                let sender = Sender { id: &client, role: Role::Client, name: &client, site: &site };
                let acked = messages::store_batch(tx, &sender, &batch.outbox, &batch.messages, now_ms)?;
                devices::seen(tx, &client, now_ms)?;
                Ok(acked)
            })
            .await;
        stored(result)
    }

    fn receipt(&self, receipt: &Receipt) -> Result<Envelope, Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a receipt could not be signed; the client sends again");
            Refusal::Unavailable("the site cannot sign a receipt; keep it and try again".to_owned())
        };
        let text = serde_json::to_string(receipt).map_err(|error| failed(&error))?;
        Envelope::sign(RECEIPT_TYPE, text, &self.key).map_err(|error| failed(&error))
    }
}

impl Upstream for Intake {
    fn status(&self, client: String, batch: SignedBatch) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(async move {
            let (sender, digest) = (client.clone(), Digest::of(batch.batch.as_bytes()));
            let outcome = match self.store(client, batch).await {
                Ok(through) => Outcome::Stored { through },
                Err(Refusal::Invalid(why)) => Outcome::Refused { why },
                Err(refusal) => return Err(refusal),
            };
            self.receipt(&Receipt { sender, batch: digest, outcome })
        })
    }

    fn inventory(&self, client: String, signed: SignedInventory) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(async move {
            let (sender, digest) = (client.clone(), Digest::of(signed.report.as_bytes()));
            let outcome = match self.keep_inventory(client, &signed).await {
                Ok(through) => Outcome::Stored { through },
                Err(Refusal::Invalid(why)) => Outcome::Refused { why },
                Err(refusal) => return Err(refusal),
            };
            self.receipt(&Receipt { sender, batch: digest, outcome })
        })
    }

    fn bad_content(&self, client: String, complaint: BadContent) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let now_ms = clock::now_unix_ms();
            let message = StatusMessage {
                time_ms: now_ms,
                severity: Severity::Warning,
                message_type: MessageType::Detail,
                component: Component::StatusManager,
                message_id: 0,
                text: format!(
                    "client {client} received bytes from distribution point {} that do not match {}; the point \
                     verifies and repairs its copy now",
                    complaint.point, complaint.content
                ),
                reason: Some(Reason::DigestMismatch),
                state: None,
                attributes: [
                    (DISTRIBUTION_POINT.to_owned(), complaint.point.clone()),
                    (messages::CLIENT.to_owned(), client),
                ]
                .into(),
            };
            let site = self.site.name.clone();
            let result = self
                .database
                .write(move |tx| {
                    if locations::request_check(tx, &complaint.point, &complaint.content)? == 0 {
                        return Ok(());
                    }
                    messages::store_local(tx, &site, &message, now_ms)
                })
                .await;
            stored(result)
        })
    }

    fn heard(&self, heard: Heard) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let now_ms = clock::now_unix_ms();
            let result = self
                .database
                .write(move |tx| {
                    for one in &heard.clients {
                        devices::heard(tx, &one.client, now_ms.saturating_sub_unsigned(one.age_ms))?;
                    }
                    Ok(())
                })
                .await;
            stored(result)
        })
    }
}
