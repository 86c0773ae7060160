//! The embedded Kubernetes API: serves CRD-described kinds as the real API server does, or refuses.
