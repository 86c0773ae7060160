//! Compiles package records: package and programs of one revision, signed, named by their digest. A change of a
//! program makes a new record without new content; a change that clients cannot see makes none.

use kube::ResourceExt;

use super::{context::Context, error::Error};
use crate::{
    api::{package::Package, program::Program},
    clock,
    db::{records, versions::VersionRow},
    model::{identity::ObjectName, quantity::parse_bytes, reason::Reason},
    trust::envelope::Envelope,
    wire::record::{DependencyRef, PackageRecord, RECORD_TYPE, RecordProgram},
};

/// Makes the record current that says what package and programs say now.
pub(super) async fn compile(
    package: &Package,
    name: &ObjectName,
    current: Option<&VersionRow>,
    ctx: &Context,
) -> Result<(), Error> {
    let before = {
        let name = name.clone();
        ctx.database.read(move |connection| records::current(connection, &name)).await?
    };
    let before = before.and_then(|row| PackageRecord::decode(row.envelope.payload.as_bytes()).ok());
    let needs_files = matches!(package.spec.source, crate::api::package::Source::Directory(_));
    if needs_files && current.is_none() {
        return Ok(());
    }
    let record = PackageRecord {
        site: ctx.site.id.clone(),
        namespace: name.namespace.clone(),
        package: name.name.clone(),
        source_version: current.map_or(0, |version| version.source_version),
        content: current.map(|version| version.content),
        size_bytes: current.map_or(0, |version| version.size_bytes),
        programs: programs(name, before.as_ref(), ctx),
    };
    if before.as_ref() == Some(&record) {
        return Ok(());
    }
    let failed = |text: String| Error::Transient { reason: Reason::ProgressingWithRetry, text };
    let bytes = record.encode().map_err(|error| failed(format!("the record cannot be encoded: {error}")))?;
    let payload = String::from_utf8(bytes).map_err(|error| failed(format!("the record is no text: {error}")))?;
    let envelope = Envelope::sign(RECORD_TYPE, payload, &ctx.key)
        .map_err(|error| failed(format!("the record cannot be signed: {error}")))?;
    let now_ms = clock::now_unix_ms();
    ctx.database.write(move |tx| records::publish(tx, &envelope, now_ms)).await?;
    Ok(())
}

/// The package's programs by name; suspended ones as they were in the record before.
fn programs(package: &ObjectName, before: Option<&PackageRecord>, ctx: &Context) -> Vec<RecordProgram> {
    let mut programs: Vec<_> = ctx
        .stores
        .programs
        .state()
        .into_iter()
        .filter(|program| {
            program.namespace().as_deref() == Some(&package.namespace)
                && program.spec.package_ref == package.name
                && program.metadata.deletion_timestamp.is_none()
        })
        .filter_map(|program| {
            if program.spec.suspend {
                return before?.program(&program.name_any()).cloned();
            }
            Some(record_program(&program, &package.namespace, ctx))
        })
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

fn record_program(program: &Program, namespace: &str, ctx: &Context) -> RecordProgram {
    let spec = &program.spec;
    let depends_on = spec.depends_on.as_ref().map(|dependency| {
        let named = kube::runtime::reflector::ObjectRef::new(&dependency.program).within(namespace);
        let package = ctx.stores.programs.get(&named).map(|program| program.spec.package_ref.clone());
        DependencyRef { package: package.unwrap_or_default(), program: dependency.program.clone() }
    });
    let mut env: Vec<_> = spec.env.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
    env.sort();
    RecordProgram {
        name: program.name_any(),
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        env,
        run_as: spec.run_as.clone(),
        max_runtime: spec.max_runtime,
        platforms: spec.platforms.clone(),
        disk_space_bytes: spec.disk_space.as_deref().and_then(parse_bytes).unwrap_or(0),
        success_codes: spec.exit_codes.success.clone(),
        depends_on,
        disabled: spec.disabled,
    }
}
