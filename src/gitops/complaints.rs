//! What a schema complains of, for whoever wrote the manifest: fields that exclude each other are named, and what only follows from
//! another fault is left out. The complaints are those of the API server, or of the same check offline.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::hints::hinted;

/// Says that rules could not run because of the other faults.
const RULES_NOT_RUN: &str = "some validation rules were not checked";
/// A rule that stumbled over another fault, as over a list that is empty.
const RULE_STUMBLED: &str = " evaluating rule: ";
/// What a field is called that there is none of.
const NO_FIELD: &str = "<nil>";

static ONE_OF: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#""([^"]+)" must validate one and only one schema \(oneOf\)"#).ok());

/// The complaints about `object` in words, each with the field it is about; `schema` is that of its kind. Each is given as the
/// server's cause has it: field and message.
#[must_use]
pub fn in_words(schema: &Value, object: &Value, causes: Vec<(String, String)>) -> Vec<(String, String)> {
    let choices: Vec<Choice> = causes.iter().filter_map(|(_, message)| Choice::of(schema, message)).collect();
    let follows = |field: &str, message: &str| {
        let named = |choice: &Choice| choice.members.iter().any(|member| field == format!("{}.{member}", choice.path));
        message.starts_with("Required value") && choices.iter().any(named)
    };
    let is_cause = |(field, message): &&(String, String)| {
        !message.contains(RULES_NOT_RUN) && !message.contains(RULE_STUMBLED) && !follows(field, message)
    };
    let mut kept: Vec<&(String, String)> = causes.iter().filter(is_cause).collect();
    if kept.is_empty() {
        kept = causes.iter().collect();
    }
    let of = |(field, message): &(String, String)| match Choice::of(schema, message) {
        Some(choice) => choice.in_words(object),
        None if field.is_empty() || field == NO_FIELD => (String::new(), hinted(message.clone())),
        None => (field.clone(), hinted(format!("{field}: {message}"))),
    };
    kept.into_iter().map(of).collect()
}

/// A place where exactly one of several members stands.
struct Choice {
    path: String,
    members: Vec<String>,
}

impl Choice {
    /// The one that a complaint speaks of.
    fn of(schema: &Value, message: &str) -> Option<Self> {
        let path = ONE_OF.as_ref()?.captures(message)?.get(1)?.as_str().to_owned();
        let node = steps(&path).try_fold(schema, |node, step| match step {
            Step::Member(name) => node.get("properties")?.get(name),
            Step::Item(_) => node.get("items"),
        })?;
        let required = |one: &Value| Some(one.get("required")?.get(0)?.as_str()?.to_owned());
        let members: Vec<String> = node.get("oneOf")?.as_array()?.iter().filter_map(required).collect();
        (!members.is_empty()).then_some(Self { path, members })
    }

    /// Which fields exclude each other, or are missing, and the field to look at.
    fn in_words(&self, object: &Value) -> (String, String) {
        let value = steps(&self.path).try_fold(object, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Item(index) => value.get(index),
        });
        let is_set = |member: &&String| value.and_then(|value| value.get(member.as_str())).is_some();
        let quoted = |members: Vec<&String>, word: &str| {
            members.iter().map(|member| format!("`{member}`")).collect::<Vec<_>>().join(word)
        };
        let set: Vec<&String> = self.members.iter().filter(is_set).collect();
        match set.last() {
            Some(last) if set.len() > 1 => (
                format!("{}.{last}", self.path),
                format!("`{}` has {}, which exclude each other: keep one", self.path, quoted(set, " and ")),
            ),
            _ => {
                let all = quoted(self.members.iter().collect(), " or ");
                (self.path.clone(), format!("`{}` needs exactly one of {all}", self.path))
            }
        }
    }
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

/// `spec.assignments[0].at` step by step.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '[']).filter(|step| !step.is_empty()).map(|step| {
        let index = step.strip_suffix(']').and_then(|index| index.parse().ok());
        index.map_or(Step::Member(step), Step::Item)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gitops::kinds::Kinds;

    fn told(kind: &str, object: Value, causes: &[(&str, &str)]) -> Vec<(String, String)> {
        let kinds = Kinds::of(&crate::api::crds());
        let causes = causes.iter().map(|(field, message)| ((*field).to_owned(), (*message).to_owned())).collect();
        in_words(&kinds.get(kind).unwrap().schema, &object, causes)
    }

    fn one_of(path: &str) -> String {
        format!(
            r#"Invalid value: "": "{path}" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        )
    }

    #[test]
    fn members_that_exclude_each_other_are_named_at_the_last_of_them() {
        let object = json!({"spec": {"assignments": [{"at": "x"}, {"at": "x", "asSoonAsPossible": {}}]}});
        let found = told("Advertisement", object, &[("<nil>", &one_of("spec.assignments[1]"))]);
        let text = "`spec.assignments[1]` has `at` and `asSoonAsPossible`, which exclude each other: keep one";
        assert_eq!(found, [("spec.assignments[1].asSoonAsPossible".to_owned(), text.to_owned())]);
        let object = json!({"spec": {"source": {}}});
        let causes = [("<nil>", &*one_of("spec.source")), ("spec.source.directory", "Required value")];
        let found = told("Package", object, &causes);
        let text = "`spec.source` needs exactly one of `directory` or `none`";
        assert_eq!(found, [("spec.source".to_owned(), text.to_owned())]);
    }

    #[test]
    fn what_follows_from_another_fault_is_left_out() {
        let causes = [
            ("spec.argv", "Invalid value: 0: spec.argv in body should have at least 1 items"),
            ("spec.argv", r#"Invalid value: "array": index out of bounds: 0 evaluating rule: the command must lie"#),
            ("<nil>", "Invalid value: null: some validation rules were not checked because the object was invalid"),
        ];
        let found = told("Program", json!({}), &causes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.starts_with("spec.argv: Invalid value: 0"), "{found:?}");
        assert_eq!(told("Program", json!({}), &causes[1..2]).len(), 1, "the only one stays");
        let required = told("Program", json!({}), &[("spec.packageRef", "Required value")]);
        assert_eq!(required[0].1, "spec.packageRef: Required value");
    }
}
