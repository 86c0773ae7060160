//! Before content is removed because an object is not there, the Kubernetes API is asked itself: a watch that begins with an old
//! list, or an object that cannot be read, looks just like something that was deleted. Decides nothing.

use std::{collections::BTreeSet, time::Duration};

use kube::{Api, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::{Reconciled, context::Context, error::Error, present};
use crate::{
    api::{distribution::Distribution, distribution_point::DistributionPoint, package::Package},
    model::{identity::ObjectName, reason::Reason},
    plan::distribution::{Facts, Wanted},
};

/// A watch that is behind catches up within moments.
const CATCHES_UP: Duration = Duration::from_secs(2);

/// Whether a package that the watch does not know is not there.
pub(super) async fn is_gone(package: &ObjectName, ctx: &Context) -> Result<bool, Error> {
    let api = Package::api(&ctx.client, Some(&package.namespace));
    match present::exists(&api, &package.name).await.map_err(Error::api("look for a package"))? {
        true => Err(Error::Deferred { after: CATCHES_UP }),
        false => Ok(true),
    }
}

/// Whether what was decided to be removed is not wanted either by the objects as they are now.
///
/// # Errors
/// If the watches are behind, or an object cannot be read that may want it.
pub(super) async fn removals(
    package: &ObjectName,
    facts: &Facts,
    decided: &Wanted,
    ctx: &Context,
) -> Result<(), Error> {
    let removed = facts.present.iter().filter(|copy| !decided.hold.contains_key(*copy));
    let losing: BTreeSet<&str> = removed.map(|(point, _)| point.as_str()).collect();
    if losing.is_empty() {
        return Ok(());
    }
    let points: Api<DistributionPoint> = Api::all(ctx.client.clone());
    for point in losing.into_iter().filter(|point| !facts.points.contains(*point)) {
        if present::exists(&points, point).await.map_err(Error::api("look for a distribution point"))? {
            return Err(Error::Deferred { after: CATCHES_UP });
        }
    }
    let api: Api<DeserializeGuard<Distribution>> = Api::namespaced(ctx.client.clone(), &package.namespace);
    let now = api.list(&ListParams::default()).await.map_err(Error::api("list distributions"))?;
    let known = ctx.stores.distributions.state();
    for one in now {
        match one.0 {
            Err(unread) => {
                let name = unread.metadata.name.unwrap_or_default();
                let text = format!("nothing is removed while Distribution {}/{name} cannot be read", package.namespace);
                return Err(Error::Transient { reason: Reason::InvalidSpec, text });
            }
            Ok(one) if one.spec.package == package.name => {
                let is_it = |known: &Distribution| {
                    known.uid() == one.uid() && known.metadata.generation == one.metadata.generation
                };
                if !known.iter().any(|known| is_it(known)) {
                    return Err(Error::Deferred { after: CATCHES_UP });
                }
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
