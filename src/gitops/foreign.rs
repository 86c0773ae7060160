//! Whether a document that is not of our group is somebody else's, or one of ours with a slip in its `apiVersion`. What is taken
//! for somebody else's is ignored, and the object it stood for is removed: so a slip must not look like it. Knows words only.

use super::kinds::{GROUP, Kinds};
use crate::model::words;

/// Slips that are still taken for our group: a letter left out, doubled, exchanged or mistyped, or two of these.
const SLIPS_MAX: usize = 2;

/// Groups of others, by their end. Kubernetes' own, and projects that have kinds of the same names as ours.
const OTHERS: &[&str] = &[
    "k8s.io",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "extensions",
    "argoproj.io",
    "carvel.dev",
    "cattle.io",
    "cluster.x-k8s.io",
    "cncf.io",
    "crossplane.io",
    "eks.amazonaws.com",
    "fluxcd.io",
    "google.com",
    "azure.com",
    "openshift.io",
    "operators.coreos.com",
];

/// What to do about a document that is meant to be ours and says something else; `None` if it is somebody else's.
pub(super) fn slip(api_version: Option<&str>, kind: Option<&str>, kinds: &Kinds) -> Option<String> {
    let group = api_version.and_then(|text| text.split_once('/')).map(|(group, _)| group);
    let ours = kind.and_then(|kind| kinds.get(kind));
    let meant = || {
        let any = kinds.in_order().first().copied();
        ours.or(any).map_or_else(|| GROUP.to_owned(), |kind| kind.resource.api_version.clone())
    };
    let what = kind.unwrap_or_default();
    match (group, ours) {
        (Some(group), _) if is_near(group) => {
            Some(format!("there is no group `{group}`: write `apiVersion: {}`", meant()))
        }
        (Some(group), Some(_)) if !is_known(group) => Some(format!(
            "{what} is a kind of {GROUP}, and the group `{group}` is not known here: write `apiVersion: {}`, or keep the file \
             where no manifests are looked for, in a directory whose name begins with a dot",
            meant()
        )),
        (None, Some(_)) => {
            let said = api_version
                .map_or_else(|| "has no `apiVersion`".to_owned(), |text| format!("of `{text}` has no group"));
            Some(format!("{what} {said}: write `apiVersion: {}`", meant()))
        }
        _ => None,
    }
}

fn is_known(group: &str) -> bool {
    OTHERS.iter().any(|other| group.strip_suffix(other).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn is_near(group: &str) -> bool {
    words::nearest(group, [GROUP], SLIPS_MAX).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_what_is_somebody_elses() {
        let kinds = Kinds::of(&crate::api::crds());
        let told = |api_version: &str, kind: &str| {
            slip(Some(api_version).filter(|text| !text.is_empty()), Some(kind).filter(|text| !text.is_empty()), &kinds)
        };
        for (api_version, kind) in [
            ("waybil.dev/v1alpha1", "Advertisement"),
            ("waybill.de/v1alpha1", "Package"),
            ("Waybill.dev/v1alpha1", "Package"),
            ("wyabill.dev/v1alpha1", "Package"),
            ("waybil.dev/v1alpha1", "Advertisment"),
            ("waybil.dev/v1alpha1", ""),
            ("", "Package"),
            ("v1alpha1", "Package"),
            ("v1", "Collection"),
            ("waybill.example.com/v1alpha1", "Package"),
        ] {
            let text = told(api_version, kind).unwrap_or_default();
            assert!(text.contains("write `apiVersion: waybill.dev/v1alpha1`"), "{api_version} {kind}: {text}");
        }
        for (api_version, kind) in [
            ("v1", "ConfigMap"),
            ("apps/v1", "Deployment"),
            ("", "Deployment"),
            ("", ""),
            ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
            ("data.packaging.carvel.dev/v1alpha1", "Package"),
            ("packages.eks.amazonaws.com/v1alpha1", "Package"),
            ("example.com/v1", "Widget"),
        ] {
            assert_eq!(told(api_version, kind), None, "{api_version} {kind}");
        }
    }
}
