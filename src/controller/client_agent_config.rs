//! Reconciles `ClientAgentConfig`: the one named like the site goes into the policy; others say that they do not.

use kube::{Api, ResourceExt};

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{client_agent_config::ClientAgentConfig, conditions::Readiness},
    model::reason::Reason,
};

impl Reconciled for ClientAgentConfig {
    fn api(client: &kube::Client, _namespace: Option<&str>) -> Api<Self> {
        Api::all(client.clone())
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        if self.name_any() != ctx.site.name {
            let text = format!("this is site '{0}': only the object named '{0}' configures its agents", ctx.site.name);
            return Err(Error::stalled(Reason::NotThisSite, text));
        }
        ctx.reevaluate.notify_one();
        let readiness = if self.spec.suspend {
            Readiness::Ready(Reason::Suspended, "suspended: agents keep what they were last told".into())
        } else {
            Readiness::Ready(Reason::Succeeded, "part of the policy of every client".into())
        };
        Ok(Report::new(readiness))
    }
}
