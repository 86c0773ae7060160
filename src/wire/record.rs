//! The package record: package, source version, content and all programs of one revision. Immutable, signed by the
//! site, named by its digest; clients move from record to record as a whole.

use serde::{Deserialize, Serialize};

use crate::{
    content::digest::Digest,
    model::{duration::Span, identity::ProgramIdentity, platform::Platform},
};

/// The envelope type a record is signed under.
pub const RECORD_TYPE: &str = "waybill.record.v1";

/// Least time that a program gets; shorter ones count as this.
pub const RUNTIME_MIN: Span = Span::from_secs(1);

/// One revision of a package with its programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageRecord {
    /// Id of the site where the package was authored.
    pub site: String,
    /// Namespace of package and programs.
    pub namespace: String,
    /// The package's name.
    pub package: String,
    /// Counts changes of the content; 0 for a package without files.
    pub source_version: u64,
    /// Digest of the content's manifest; `None` for a package without files.
    pub content: Option<Digest>,
    /// Size of all files.
    pub size_bytes: u64,
    /// All programs of the package, by name.
    pub programs: Vec<RecordProgram>,
}

impl PackageRecord {
    /// The program of this name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&RecordProgram> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The identity under which clients remember the program of this name.
    #[must_use]
    pub fn identity(&self, program: &str) -> ProgramIdentity {
        ProgramIdentity {
            site: self.site.clone(),
            namespace: self.namespace.clone(),
            package: self.package.clone(),
            program: program.to_owned(),
        }
    }

    /// The bytes that are signed and whose digest names the record.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no record of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// A program as clients see it. Field meanings are those of the kind `Program`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordProgram {
    /// Its name; with the package, its identity.
    pub name: String,
    /// Command and arguments.
    pub argv: Vec<String>,
    /// Directory to start in, relative to the package.
    pub cwd: Option<String>,
    /// Environment variables, in order of their names.
    pub env: Vec<(String, String)>,
    /// Local user to run as; `None` is the agent's own.
    pub run_as: Option<String>,
    /// Everything it started is stopped after this time.
    pub max_runtime: Span,
    /// Supported platforms; empty is any.
    pub platforms: Vec<Platform>,
    /// Free disk space needed besides the content.
    pub disk_space_bytes: u64,
    /// Exit codes that mean success.
    pub success_codes: Vec<i32>,
    /// The program that must have succeeded before the first run of this one.
    pub depends_on: Option<DependencyRef>,
    /// Held back on every client.
    pub disabled: bool,
}

/// A dependency, resolved to its package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DependencyRef {
    /// The package, in the same namespace.
    pub package: String,
    /// The program.
    pub program: String,
}

/// The path of a command that lies in the package: "./setup" is how people write it.
#[must_use]
pub fn in_package(command: &str) -> &str {
    command.strip_prefix("./").unwrap_or(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PackageRecord {
        PackageRecord {
            site: "s1".into(),
            namespace: "default".into(),
            package: "editor".into(),
            source_version: 3,
            content: None,
            size_bytes: 0,
            programs: vec![RecordProgram {
                name: "install".into(),
                argv: vec!["./install.sh".into()],
                cwd: None,
                env: vec![("MODE".into(), "quiet".into())],
                run_as: None,
                max_runtime: Span::from_secs(7_200),
                platforms: vec![],
                disk_space_bytes: 0,
                success_codes: vec![0],
                depends_on: None,
                disabled: false,
            }],
        }
    }

    /// The bytes are the record's identity: a change here makes every client fetch every record again.
    #[test]
    fn encoding_is_golden() {
        let bytes = record().encode().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"site":"s1","namespace":"default","package":"editor","sourceVersion":3,"content":null,"sizeBytes":0,"programs":[{"name":"install","argv":["./install.sh"],"cwd":null,"env":[["MODE","quiet"]],"runAs":null,"maxRuntime":"2h","platforms":[],"diskSpaceBytes":0,"successCodes":[0],"dependsOn":null,"disabled":false}]}"#
        );
        assert_eq!(PackageRecord::decode(&bytes).unwrap(), record());
    }
}
