//! What a Site of the tree grants against what the tree advertises. Warnings but for a query that is not valid: who owns the
//! site may grant more with kubectl than its file says.

use super::{Loaded, World, spec};
use crate::{
    api::{
        advertisement::AdvertisementSpec,
        program::ProgramSpec,
        site::{NamespaceGrant, SiteSpec},
    },
    gitops::diagnostic::{Diagnostic, Severity},
    plan::{grants::EVERY_NAMESPACE, query::Query},
};

impl World<'_> {
    fn sites(&self) -> impl Iterator<Item = (&str, SiteSpec)> {
        let sites = self.manifests.objects.iter().filter(|loaded| loaded.key.kind == "Site");
        sites.filter_map(|loaded| Some((loaded.key.name.as_str(), spec(loaded)?)))
    }

    pub(super) fn site(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let Some(site) = spec::<SiteSpec>(loaded) else { return Vec::new() };
        let invalid = site.namespaces.iter().enumerate().filter_map(|(index, grant)| {
            let error = Query::compile(grant.query.as_deref()?).err()?;
            let field = format!("spec.namespaces[{index}].query");
            Some(loaded.diagnose(Severity::Error, &field, format!("grant `{}` reaches nobody: {error}", grant.name)))
        });
        let mut found: Vec<Diagnostic> = invalid.collect();
        let advertises = self.manifests.objects.iter().any(|loaded| loaded.key.kind == "Advertisement");
        if advertises && site.namespaces.is_empty() {
            let message =
                "spec.namespaces grants no namespace a client: nothing that is advertised here reaches anybody";
            found.push(loaded.diagnose(Severity::Warning, "spec", message.to_owned()));
        }
        found
    }

    /// Nothing if the tree has no Site: it is somebody else's to grant.
    pub(super) fn grants(&self, loaded: &Loaded, advertisement: &AdvertisementSpec) -> Vec<Diagnostic> {
        let namespace = loaded.key.namespace.as_deref().unwrap_or_default();
        let program: Option<ProgramSpec> = self.get("Program", loaded, &advertisement.program);
        let of_site = |(site, granted): (&str, SiteSpec)| {
            if granted.namespaces.is_empty() {
                return None;
            }
            let Some(grant) = grant_of(&granted, namespace) else {
                let message = format!("Site `{site}` grants namespace {namespace} no client: this reaches nobody");
                return Some(loaded.diagnose(Severity::Warning, "metadata.namespace", message));
            };
            let (users, program) = (grant.run_as.as_ref()?, program.as_ref()?);
            let is_granted = program.run_as.as_ref().is_some_and(|user| users.contains(user));
            let whom = program.run_as.as_deref().unwrap_or("the agent's own user");
            let message = format!(
                "program `{}` runs as {whom}, and Site `{site}` lets namespace {namespace} run as {} only: this reaches nobody",
                advertisement.program,
                users.join(", ")
            );
            (!is_granted).then(|| loaded.diagnose(Severity::Warning, "spec.program", message))
        };
        self.sites().filter_map(of_site).collect()
    }
}

fn grant_of<'a>(site: &'a SiteSpec, namespace: &str) -> Option<&'a NamespaceGrant> {
    let named = |name: &str| site.namespaces.iter().find(|grant| grant.name == name);
    named(namespace).or_else(|| named(EVERY_NAMESPACE))
}
