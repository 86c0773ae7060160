//! Plain types everyone shares: identities, schedules, reasons, states. Serde only; no I/O, no clock.
