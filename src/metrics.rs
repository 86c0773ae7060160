//! What a server counts of its own work, in the text format that Prometheus reads. Every label has a few values that the
//! program itself names: nothing that a client, a package or an administrator is called ever becomes one. What the
//! numbers mean is in `docs/metrics.md`; who may read them is decided by the listener.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// What the endpoint says its answer is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the durations, in seconds: the first, what each is of the one before, and how many. From 1 ms to about 65 s.
const DURATION_BUCKETS: (f64, f64, u16) = (0.001, 4.0, 9);

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object is as far as it can be now.
    Done,
    /// Something failed that may pass; it is tried again.
    Retried,
    /// Somebody has to change something first.
    Stalled,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Stalled => "stalled",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    listener: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct System {
    role: &'static str,
    state: &'static str,
}

struct Metrics {
    reconciles: Family<Reconcile, Counter>,
    reconcile_duration: Family<Kind, Histogram, fn() -> Histogram>,
    reconciling: Family<Kind, Gauge>,
    writes_waiting: Gauge,
    requests: Family<Answered, Counter>,
    sent: Family<Listener, Counter>,
    status_messages: Counter,
    source_reads: Counter,
    policies_compiled: Counter,
    offered: Gauge,
    systems: Family<System, Gauge>,
}

/// The process counts in one place, as it logs to one place.
static METRICS: LazyLock<(Metrics, Registry)> = LazyLock::new(|| {
    let metrics = Metrics {
        reconciles: Family::default(),
        reconcile_duration: Family::new_with_constructor(durations),
        reconciling: Family::default(),
        writes_waiting: Gauge::default(),
        requests: Family::default(),
        sent: Family::default(),
        status_messages: Counter::default(),
        source_reads: Counter::default(),
        policies_compiled: Counter::default(),
        offered: Gauge::default(),
        systems: Family::default(),
    };
    let mut registry = Registry::with_prefix("waybill");
    let m = &metrics;
    registry.register("reconciles", "Reconciles of objects, by how they ended", m.reconciles.clone());
    let (help, unit) = ("Time that reconciles took", Unit::Seconds);
    registry.register_with_unit("reconcile_duration", help, unit, m.reconcile_duration.clone());
    registry.register("reconciles_in_progress", "Objects being reconciled now", m.reconciling.clone());
    registry.register("database_writes_waiting", "Writes that wait for the site database", m.writes_waiting.clone());
    registry.register("requests", "Requests answered, by listener and class of status", m.requests.clone());
    let (help, unit) = ("Bytes of answers' bodies sent", Unit::Bytes);
    registry.register_with_unit("sent", help, unit, m.sent.clone());
    registry.register("status_messages_accepted", "Status messages taken in, each once", m.status_messages.clone());
    registry.register("source_reads", "Package sources read", m.source_reads.clone());
    registry.register("policies_compiled", "Client policies compiled", m.policies_compiled.clone());
    registry.register("offers", "Offers in all client policies now", m.offered.clone());
    registry.register("site_systems", "Distribution points and access points, by state", m.systems.clone());
    (metrics, registry)
});

fn durations() -> Histogram {
    let (first, factor, count) = DURATION_BUCKETS;
    Histogram::new(exponential_buckets(first, factor, count))
}

fn metrics() -> &'static Metrics {
    &METRICS.0
}

/// Counts a reconcile of an object of this kind of ours.
pub fn reconciled(kind: &str, outcome: Outcome, took: Duration) {
    let label = Kind { kind: kind.to_owned() };
    metrics().reconcile_duration.get_or_create(&label).observe(took.as_secs_f64());
    metrics().reconciles.get_or_create(&Reconcile { kind: kind.to_owned(), outcome: outcome.label() }).inc();
}

/// One more object of this kind is being reconciled, until the value is dropped.
#[must_use]
pub fn reconciling(kind: &str) -> Reconciling {
    let gauge = metrics().reconciling.get_or_create_owned(&Kind { kind: kind.to_owned() });
    gauge.inc();
    Reconciling(gauge)
}

/// A reconcile in progress.
#[derive(Debug)]
pub struct Reconciling(Gauge);

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// So many writes wait for the database now.
pub fn writes_waiting(count: usize) {
    metrics().writes_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Counts an answer of a listener.
pub fn request(listener: &'static str, status: u16) {
    let class = match status {
        0..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics().requests.get_or_create(&Answered { listener, class }).inc();
}

/// Counts bytes that a listener sent.
pub fn sent(listener: &'static str, bytes: usize) {
    metrics().sent.get_or_create(&Listener { listener }).inc_by(bytes as u64);
}

/// Counts status messages that were taken in and were not known before.
pub fn status_messages(count: u64) {
    metrics().status_messages.inc_by(count);
}

/// Counts a reading of a package's source, whatever it finds.
pub fn source_read() {
    metrics().source_reads.inc();
}

/// Counts a compilation of so many clients' policies with so many offers in all.
pub fn compiled(policies: usize, offers: usize) {
    metrics().policies_compiled.inc_by(policies as u64);
    metrics().offered.set(i64::try_from(offers).unwrap_or(i64::MAX));
}

/// So many site systems of a role are in a state now.
pub fn site_systems(role: &'static str, state: &'static str, count: usize) {
    metrics().systems.get_or_create(&System { role, state }).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// All of it as text.
///
/// # Errors
/// None in practice: writing to a string does not fail.
pub fn text() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode(&mut text, &METRICS.1)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        request("test", 204);
        request("test", 404);
        request("test", 404);
        sent("test", 10);
        reconciled("Test", Outcome::Stalled, Duration::from_millis(3));
        let busy = reconciling("Test");
        let text_busy = text().unwrap();
        drop(busy);
        for line in [
            "waybill_requests_total{listener=\"test\",class=\"2xx\"} 1",
            "waybill_requests_total{listener=\"test\",class=\"4xx\"} 2",
            "waybill_sent_bytes_total{listener=\"test\"} 10",
            "waybill_reconciles_total{kind=\"Test\",outcome=\"stalled\"} 1",
            "waybill_reconcile_duration_seconds_count{kind=\"Test\"} 1",
            "waybill_reconciles_in_progress{kind=\"Test\"} 1",
        ] {
            assert!(text_busy.lines().any(|shown| shown == line), "{line} in {text_busy}");
        }
        assert!(text().unwrap().contains("waybill_reconciles_in_progress{kind=\"Test\"} 0"));
    }
}
