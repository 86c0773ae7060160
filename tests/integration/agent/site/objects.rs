//! Records, programs and offers as tests want them: everything that is not said is as plain as can be.

use super::*;

fn identity(program: &str) -> ProgramIdentity {
    ProgramIdentity {
        site: SITE_ID.into(),
        namespace: "default".into(),
        package: "tool".into(),
        program: program.into(),
    }
}

/// A program that runs a script of the package.
pub(crate) fn program(name: &str, argv: &[&str]) -> RecordProgram {
    RecordProgram {
        name: name.into(),
        argv: argv.iter().map(ToString::to_string).collect(),
        cwd: None,
        env: vec![],
        run_as: None,
        max_runtime: Span::from_secs(60),
        platforms: vec![],
        disk_space_bytes: 0,
        success_codes: vec![0],
        depends_on: None,
        disabled: false,
    }
}

pub(crate) fn record(content: Option<Digest>, programs: Vec<RecordProgram>) -> PackageRecord {
    PackageRecord {
        site: SITE_ID.into(),
        namespace: "default".into(),
        package: "tool".into(),
        source_version: 1,
        content,
        size_bytes: 0,
        programs,
    }
}

/// An assigned offer.
pub(crate) fn assigned(advertisement: &str, program: &str, record: Digest) -> Offer {
    Offer {
        advertisement: ObjectName::new("default", advertisement),
        program: identity(program),
        record,
        start: None,
        expires: None,
        assignments: vec![Assignment::AsSoonAsPossible],
        user_may_start: false,
        rerun: Rerun::IfFailed,
        rerun_token: None,
        suspended: false,
    }
}
