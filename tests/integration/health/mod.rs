//! What Argo CD and Flux make of objects: the health script and the expressions of `gitops/`, held against objects of every kind in
//! every state. The objects are recorded in `tests/fixtures/health`, and a test holds them against those that the product makes.

mod argocd;
mod expressions;
mod flux;
mod live;
mod recorded;
