//! One reconcile per kind: observe, plan, apply, report.
