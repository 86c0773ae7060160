//! What things are called across processes and restarts. Names, never Kubernetes UIDs: a re-created object of the
//! same name is the same thing to a client that ran it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A namespaced object's name; printed as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The object's name in it.
    pub name: String,
}

impl ObjectName {
    /// Builds the name from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Reads `namespace/name`; `None` unless there is exactly one slash with text on both sides.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A program's identity, the subject of run-once: (origin site, namespace, package, program), across advertisements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramIdentity {
    /// The id of the site where the package was authored.
    pub site: String,
    /// Namespace of package and program.
    pub namespace: String,
    /// The package's name.
    pub package: String,
    /// The program's name.
    pub program: String,
}

impl fmt::Display for ProgramIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.site, self.namespace, self.package, self.program)
    }
}
