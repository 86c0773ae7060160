//! What a distribution point tells of: the messages of copying, removing and repairing, with SMS's own numbers
//! where it had one.

use std::path::Path;

use super::trouble::Failure;
use crate::{
    content::{Fault, FaultKind},
    model::{
        message::{Component, DISTRIBUTION_POINT, FILE, MessageType, PACKAGE, SOURCE_VERSION, Severity, StatusMessage},
        reason::Reason,
    },
    wire::points::VersionRef,
};

/// Whom and what a message is about, and when it happened.
pub(super) struct About<'a> {
    pub(super) point: &'a str,
    pub(super) version: &'a VersionRef,
    pub(super) now_ms: i64,
}

impl About<'_> {
    fn message(&self, kind: (Severity, MessageType, u16), text: String) -> StatusMessage {
        let (severity, message_type, message_id) = kind;
        StatusMessage {
            time_ms: self.now_ms,
            severity,
            message_type,
            component: Component::DistributionPoint,
            message_id,
            text,
            reason: None,
            state: None,
            attributes: [
                (PACKAGE.to_owned(), self.version.package.to_string()),
                (SOURCE_VERSION.to_owned(), self.version.source_version.to_string()),
                (DISTRIBUTION_POINT.to_owned(), self.point.to_owned()),
            ]
            .into(),
        }
    }

    fn what(&self) -> String {
        format!("version {} of package {}", self.version.source_version, self.version.package)
    }

    /// 2329: copying begins.
    pub(super) fn begins(&self) -> StatusMessage {
        let text = format!("{} copies {}", self.point, self.what());
        self.message((Severity::Informational, MessageType::Detail, 2329), text)
    }

    /// 2330: it is there and served.
    pub(super) fn installed(&self, path: &str) -> StatusMessage {
        let text = format!("{} holds {} in {path}", self.point, self.what());
        self.message((Severity::Informational, MessageType::Milestone, 2330), text)
    }

    /// 2328: copying failed and is tried again.
    pub(super) fn copy_failed(&self, reason: Reason, why: &str) -> StatusMessage {
        let text = format!("{} could not copy {} and tries again: {why}", self.point, self.what());
        let message = self.message((Severity::Warning, MessageType::Detail, 2328), text);
        StatusMessage { reason: Some(reason), ..message }
    }

    /// 2331: copying failed and is given up until something changes.
    pub(super) fn gave_up(&self, reason: Reason, why: &str) -> StatusMessage {
        let text = format!("{} gave up copying {}: {why}", self.point, self.what());
        let message = self.message((Severity::Error, MessageType::Milestone, 2331), text);
        StatusMessage { reason: Some(reason), ..message }
    }

    /// 2354: the copy is not what it should be.
    pub(super) fn fault(&self, fault: &Fault) -> StatusMessage {
        let place = shown(&fault.path);
        let text = format!("{}: {place} of {} {}", self.point, self.what(), meaning(fault.kind));
        let mut message = self.message((Severity::Error, MessageType::Detail, 2354), text);
        message.attributes.insert(FILE.to_owned(), place);
        StatusMessage { reason: Some(Reason::DigestMismatch), ..message }
    }

    /// 2354 for many at once: how many, and the first of them.
    pub(super) fn faults(&self, first: &Fault, number: usize) -> StatusMessage {
        let message = self.fault(first);
        let (place, meaning) = (shown(&first.path), meaning(first.kind));
        let what = self.what();
        let text = format!(
            "{}: {number} files or directories of {what} are not what they should be; {place} {meaning}",
            self.point
        );
        StatusMessage { text, ..message }
    }

    /// 2303: the copy is what it should be again.
    pub(super) fn repaired(&self, faults: usize) -> StatusMessage {
        let text = format!("{} repaired {}: {faults} file(s) or directories put right", self.point, self.what());
        self.message((Severity::Informational, MessageType::Milestone, 2303), text)
    }

    /// Removed, as it was told to. SMS had no number of its own for this.
    pub(super) fn removed(&self) -> StatusMessage {
        let text = format!("{} removed {}", self.point, self.what());
        self.message((Severity::Informational, MessageType::Milestone, 0), text)
    }

    /// 2332: removal failed and is tried again.
    pub(super) fn removal_failed(&self, why: &str) -> StatusMessage {
        let text = format!("{} could not remove {} and tries again: {why}", self.point, self.what());
        self.message((Severity::Warning, MessageType::Detail, 2332), text)
    }
}

/// The point's own database cannot be written, so that nothing else can be told either. SMS had no number for this.
pub(super) fn database_failed(point: &str, failure: &Failure) -> StatusMessage {
    let what = if failure.is_full { "its disk is full; make room there" } else { "see its log" };
    StatusMessage {
        time_ms: failure.at_ms,
        severity: Severity::Error,
        message_type: MessageType::Milestone,
        component: Component::DistributionPoint,
        message_id: 0,
        text: format!("{point} cannot write its database: {what}. Other messages come late ({})", failure.why),
        reason: Some(if failure.is_full { Reason::DiskFull } else { Reason::Retrying }),
        state: None,
        attributes: [(DISTRIBUTION_POINT.to_owned(), point.to_owned())].into(),
    }
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { "the whole directory".to_owned() } else { path.display().to_string() }
}

const fn meaning(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Flipped => "has other bytes than it should",
        FaultKind::Truncated => "is cut short",
        FaultKind::Missing => "is missing",
        FaultKind::Added => "does not belong there",
        FaultKind::WrongMode => "has other permissions than it should",
    }
}
