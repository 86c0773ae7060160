//! The refusal of an apply that would change others' fields: every field is named, grouped by its manager.

use super::managed::{Entry, Operation};
use super::set::Set;
use super::step::Step;
use crate::apiserver::failure::{Cause, Failure};
use crate::apiserver::shown::quoted;

/// The 409 for what each manager would lose.
pub(super) fn failure(lost: &[(Entry, Set)]) -> Failure {
    let mut lost: Vec<_> = lost.iter().map(|(entry, fields)| (entry, fields.paths())).collect();
    lost.sort_by(|(a, _), (b, _)| {
        (&a.manager, a.operation, &a.subresource).cmp(&(&b.manager, b.operation, &b.subresource))
    });
    let causes: Vec<_> = lost.iter().flat_map(|(entry, paths)| paths.iter().map(|path| cause(entry, path))).collect();
    let message = match &causes[..] {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => {
            let group = |(entry, paths): &(&Entry, Vec<Vec<Step>>)| {
                let lines: String = paths.iter().map(|path| format!("\n- {}", shown(path))).collect();
                format!("conflicts with {}:{lines}", name(entry))
            };
            let groups: Vec<_> = lost.iter().map(group).collect();
            format!("Apply failed with {} conflicts: {}", many.len(), groups.join("\n"))
        }
    };
    Failure::apply_conflict(message, causes)
}

fn cause(entry: &Entry, path: &[Step]) -> Cause {
    Cause { reason: "FieldManagerConflict", field: shown(path), message: format!("conflict with {}", name(entry)) }
}

fn shown(path: &[Step]) -> String {
    path.iter().map(Step::to_string).collect()
}

fn name(entry: &Entry) -> String {
    let mut out = quoted(&entry.manager);
    if !entry.subresource.is_empty() {
        out += &format!(" with subresource {}", quoted(&entry.subresource));
    }
    if entry.operation == Operation::Update {
        out += &format!(" using {}", entry.api_version);
    }
    out
}
