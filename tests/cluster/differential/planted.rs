//! Faults put into the answers of one server on their way to the comparison: a differential test that finds none of them proves
//! nothing.

use serde_json::Value;

use super::wire::Received;

/// What is spoiled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Planted {
    /// A success has another code.
    Code,
    /// Fields belong to another manager.
    Owner,
    /// The first two events of a watch change places.
    EventOrder,
}

impl Planted {
    /// The aspect in which it must be noticed.
    pub(super) fn aspect(self) -> &'static str {
        match self {
            Planted::Code => "code",
            Planted::Owner => "managedFields",
            Planted::EventOrder => "events",
        }
    }

    pub(super) fn spoil(self, received: &mut Received) {
        match self {
            Planted::Code => {
                if received.code == 201 {
                    received.code = 200;
                }
            }
            Planted::Owner => {
                if let Ok(mut object) = serde_json::from_slice::<Value>(&received.body)
                    && let Some(manager) = object.pointer_mut("/metadata/managedFields/0/manager")
                {
                    *manager = "somebody-else".into();
                    received.body = object.to_string().into_bytes();
                }
            }
            Planted::EventOrder => {
                let text = String::from_utf8_lossy(&received.body).into_owned();
                let mut lines: Vec<&str> = text.lines().collect();
                let is_event = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|l| l["object"].is_object());
                if lines.len() >= 2 && lines.iter().all(is_event) {
                    lines.swap(0, 1);
                    received.body = (lines.join("\n") + "\n").into_bytes();
                }
            }
        }
    }
}
