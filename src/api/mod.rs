//! The Kubernetes kinds of group waybill.dev, one file each, and their conditions.
