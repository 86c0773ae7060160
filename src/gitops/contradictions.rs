//! What objects of a tree say against each other: references to nothing, an advertisement that its program cannot
//! serve, circles, grants. The controllers say the same as `Stalled`; here it has a place in a file. Pure.

mod grants;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::de::DeserializeOwned;

use super::{
    diagnostic::{Diagnostic, Severity},
    kinds::ObjectKey,
    load::{Loaded, Manifests},
};
use crate::{
    api::{
        advertisement::{AdvertisementSpec, Rerun},
        collection::CollectionSpec,
        distribution::{DistributionPoints, DistributionSpec},
        package::{PackageSpec, Source},
        program::ProgramSpec,
    },
    content::path::names_system_directory,
    plan::query::Query,
};

/// The objects of a tree by what they are, as far as they can be read.
struct World<'a> {
    manifests: &'a Manifests,
    by_key: BTreeMap<&'a ObjectKey, &'a Loaded>,
    elsewhere: &'a dyn Fn(&ObjectKey) -> bool,
}

/// All contradictions of a tree, by file and line. `elsewhere` knows objects that exist although the tree does not
/// declare them.
pub fn contradictions(manifests: &Manifests, elsewhere: &dyn Fn(&ObjectKey) -> bool) -> Vec<Diagnostic> {
    let by_key = manifests.objects.iter().map(|loaded| (&loaded.key, loaded)).collect();
    let world = World { manifests, by_key, elsewhere };
    let found = manifests.objects.iter().flat_map(|loaded| match loaded.key.kind.as_str() {
        "Site" => world.site(loaded),
        "Package" => world.package(loaded),
        "Program" => world.program(loaded),
        "Distribution" => world.distribution(loaded),
        "Collection" => collection(loaded),
        "Advertisement" => world.advertisement(loaded),
        "ClientAgentConfig" => world.client_agent_config(loaded),
        _ => Vec::new(),
    });
    found.collect()
}

/// An object's spec, or nothing if it cannot be read; the schema check says why.
pub(super) fn spec<T: DeserializeOwned>(loaded: &Loaded) -> Option<T> {
    serde_json::from_value(loaded.object.get("spec")?.clone()).ok()
}

impl World<'_> {
    fn exists(&self, key: &ObjectKey) -> bool {
        self.by_key.contains_key(key) || self.manifests.may_declare(key, None) || (self.elsewhere)(key)
    }

    /// The spec of another object of the same namespace, if the tree has it.
    fn get<T: DeserializeOwned>(&self, kind: &str, beside: &Loaded, name: &str) -> Option<T> {
        spec(self.by_key.get(&neighbour(kind, beside, name))?)
    }

    /// Complains if a reference leads nowhere.
    fn reference(&self, from: &Loaded, field: &str, kind: &str, name: &str) -> Option<Diagnostic> {
        let key = neighbour(kind, from, name);
        (!self.exists(&key)).then(|| {
            let namespace = key.namespace.as_deref().unwrap_or_default();
            from.diagnose(Severity::Error, field, format!("{kind} `{name}` does not exist in namespace {namespace}"))
        })
    }

    fn package(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let Some(package) = spec::<PackageSpec>(loaded) else { return Vec::new() };
        let system = match &package.source {
            Source::Directory(source) => system_directory(loaded, &source.path),
            Source::None(_) => None,
        };
        let collections = package.access.map(|access| access.collections).unwrap_or_default();
        let checked = collections.iter().enumerate().filter_map(|(index, name)| {
            self.reference(loaded, &format!("spec.access.collections[{index}]"), "Collection", name)
        });
        checked.chain(system).collect()
    }

    fn program(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let Some(program) = spec::<ProgramSpec>(loaded) else { return Vec::new() };
        let mut found: Vec<Diagnostic> =
            self.reference(loaded, "spec.packageRef", "Package", &program.package_ref).into_iter().collect();
        let package: Option<PackageSpec> = self.get("Package", loaded, &program.package_ref);
        let command = program.argv.first().map_or("", String::as_str);
        if package.is_some_and(|package| matches!(package.source, Source::None(_))) && !command.starts_with('/') {
            let message = format!(
                "`{command}` would be a file of package `{}`, which has none: name an absolute path",
                program.package_ref
            );
            found.push(loaded.diagnose(Severity::Error, "spec.argv", message));
        }
        if let Some(dependency) = &program.depends_on {
            let field = "spec.dependsOn.program";
            found.extend(self.reference(loaded, field, "Program", &dependency.program));
            found.extend(self.circle(loaded, &program).map(|message| loaded.diagnose(Severity::Error, field, message)));
        }
        found
    }

    /// Follows `dependsOn` until it ends or comes back.
    fn circle(&self, loaded: &Loaded, program: &ProgramSpec) -> Option<String> {
        let mut seen = BTreeSet::from([loaded.key.name.clone()]);
        let mut next = program.depends_on.clone();
        while let Some(dependency) = next {
            if !seen.insert(dependency.program.clone()) {
                return Some(format!("dependsOn leads back to program `{}`: break the circle", dependency.program));
            }
            next = self.get::<ProgramSpec>("Program", loaded, &dependency.program)?.depends_on;
        }
        None
    }

    fn distribution(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let Some(distribution) = spec::<DistributionSpec>(loaded) else { return Vec::new() };
        let mut found: Vec<Diagnostic> =
            self.reference(loaded, "spec.package", "Package", &distribution.package).into_iter().collect();
        let package: Option<PackageSpec> = self.get("Package", loaded, &distribution.package);
        if package.is_some_and(|package| matches!(package.source, Source::None(_))) {
            let message = format!("package `{}` has no files; there is nothing to distribute", distribution.package);
            found.push(loaded.diagnose(Severity::Warning, "spec.package", message));
        }
        if let DistributionPoints::Names(names) = &distribution.distribution_points {
            let enough = usize::try_from(distribution.min_available).is_ok_and(|wanted| wanted <= names.len());
            if !enough {
                let message = format!(
                    "minAvailable is {}, but only {} distribution points are named: it can never be Ready",
                    distribution.min_available,
                    names.len()
                );
                found.push(loaded.diagnose(Severity::Error, "spec.minAvailable", message));
            }
            // A distribution point may join before or after its object is declared, so this is no error.
            let unknown = names.iter().enumerate().filter(|(_, name)| {
                let key = ObjectKey::cluster("DistributionPoint", name);
                !self.exists(&key)
            });
            found.extend(unknown.map(|(index, name)| {
                let field = format!("spec.distributionPoints.names[{index}]");
                let message = format!("no DistributionPoint `{name}` is declared here");
                loaded.diagnose(Severity::Warning, &field, message)
            }));
        }
        found
    }

    fn advertisement(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let Some(advertisement) = spec::<AdvertisementSpec>(loaded) else { return Vec::new() };
        let mut found: Vec<Diagnostic> = [
            self.reference(loaded, "spec.program", "Program", &advertisement.program),
            self.reference(loaded, "spec.collection", "Collection", &advertisement.collection),
        ]
        .into_iter()
        .flatten()
        .collect();
        found.extend(self.grants(loaded, &advertisement));
        let Some(program) = self.get::<ProgramSpec>("Program", loaded, &advertisement.program) else { return found };
        if program.disabled {
            let message = format!("program `{}` is disabled: nothing will run", advertisement.program);
            found.push(loaded.diagnose(Severity::Warning, "spec.program", message));
        }
        let Some(package) = self.get::<PackageSpec>("Package", loaded, &program.package_ref) else { return found };
        let has_files = !matches!(package.source, Source::None(_));
        if !has_files && advertisement.rerun == Rerun::OncePerVersion {
            let message = format!(
                "rerun OncePerVersion contradicts package `{}`, which has no files and so no versions",
                program.package_ref
            );
            found.push(loaded.diagnose(Severity::Error, "spec.rerun", message));
        }
        if has_files && !self.is_distributed(loaded, &program.package_ref) {
            let message = format!("no Distribution here brings package `{}` to clients", program.package_ref);
            found.push(loaded.diagnose(Severity::Warning, "spec.program", message));
        }
        found
    }

    fn is_distributed(&self, beside: &Loaded, package: &str) -> bool {
        let mut distributions = self
            .manifests
            .objects
            .iter()
            .filter(|loaded| loaded.key.kind == "Distribution" && loaded.key.namespace == beside.key.namespace);
        distributions.any(|loaded| spec::<DistributionSpec>(loaded).is_some_and(|one| one.package == package))
    }

    /// Only the configuration named like the site applies.
    fn client_agent_config(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let sites: Vec<&str> =
            self.by_key.keys().filter(|key| key.kind == "Site").map(|key| key.name.as_str()).collect();
        if sites.is_empty() || sites.contains(&loaded.key.name.as_str()) {
            return Vec::new();
        }
        let message = format!("applies to no site: name it like the site, {}", sites.join(" or "));
        vec![loaded.diagnose(Severity::Warning, "metadata.name", message)]
    }
}

fn collection(loaded: &Loaded) -> Vec<Diagnostic> {
    let query = spec::<CollectionSpec>(loaded).and_then(|collection| collection.query);
    let diagnose = |severity, text: String| loaded.diagnose(severity, "spec.query", text);
    match query.as_deref().map(Query::compile) {
        None => Vec::new(),
        Some(Err(error)) => vec![diagnose(Severity::Error, error.to_string())],
        // It may be meant for clients of another version.
        Some(Ok(query)) => query.unknown_fields().into_iter().map(|text| diagnose(Severity::Warning, text)).collect(),
    }
}

/// What the server refuses when it reads the source, said before: by its name alone, as links are not here to be followed.
fn system_directory(loaded: &Loaded, path: &str) -> Option<Diagnostic> {
    names_system_directory(Path::new(path)).then(|| {
        let text = format!(
            "`{path}` belongs to the operating system and is never distributed: choose a directory that holds the package alone"
        );
        loaded.diagnose(Severity::Error, "spec.source.directory.path", text)
    })
}

fn neighbour(kind: &str, beside: &Loaded, name: &str) -> ObjectKey {
    ObjectKey { kind: kind.to_owned(), namespace: beside.key.namespace.clone(), name: name.to_owned() }
}
