//! Reconciles `Program`: its references must exist and its dependencies must end somewhere. Clients learn of it with
//! the next record of its package, which a change here asks for.

use std::collections::BTreeSet;

use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{conditions::Readiness, program::Program},
    model::{identity::ObjectName, reason::Reason},
};

impl Reconciled for Program {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    fn gone(&self, ctx: &Context) {
        let namespace = self.namespace().unwrap_or_default();
        ctx.nudges.package(&ObjectName::new(&namespace, &self.spec.package_ref));
        ctx.nudge_dependants_of_program(&ObjectName::new(&namespace, self.name_any()));
        ctx.reevaluate.notify_one();
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        let namespace = self.namespace().unwrap_or_default();
        // Whatever became of this program, its package has to look.
        ctx.nudges.package(&ObjectName::new(&namespace, &self.spec.package_ref));
        if self.metadata.generation != self.status.as_ref().and_then(|status| status.observed.observed_generation) {
            ctx.nudge_dependants_of_program(&ObjectName::new(&namespace, self.name_any()));
        }
        if self.spec.suspend {
            let text = "suspended: clients keep what they were last told about this program";
            return Ok(Report::new(Readiness::Ready(Reason::Suspended, text.into())));
        }
        let package = ObjectRef::new(&self.spec.package_ref).within(&namespace);
        if ctx.stores.packages.get(&package).is_none() {
            let text =
                format!("package '{}' does not exist in namespace {namespace}; create it", self.spec.package_ref);
            return Err(Error::stalled(Reason::ReferenceNotFound, text));
        }
        check_dependencies(self, &namespace, ctx)?;
        Ok(Report::new(Readiness::Ready(Reason::Succeeded, format!("part of package {}", self.spec.package_ref))))
    }
}

fn check_dependencies(program: &Program, namespace: &str, ctx: &Context) -> Result<(), Error> {
    let mut seen = BTreeSet::from([program.name_any()]);
    let mut next = program.spec.depends_on.clone();
    while let Some(dependency) = next {
        if !seen.insert(dependency.program.clone()) {
            let text = format!("dependsOn leads back to program '{}'; break the circle", dependency.program);
            return Err(Error::stalled(Reason::ProgramConflict, text));
        }
        let found = ctx.stores.programs.get(&ObjectRef::new(&dependency.program).within(namespace));
        let Some(found) = found else {
            let text = format!(
                "dependsOn names program '{}', which does not exist in namespace {namespace}",
                dependency.program
            );
            return Err(Error::stalled(Reason::ReferenceNotFound, text));
        };
        next = found.spec.depends_on.clone();
    }
    Ok(())
}
