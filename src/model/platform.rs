//! The platforms a program supports, checked on the client before anything is fetched: any, or at
//! least one of a list.

use serde::{Deserialize, Serialize};

/// One supported platform; fields left out match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Platform {
    /// Operating system, as `linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 64)))]
    pub os: Option<String>,
    /// Distribution id of os-release, as `debian` or `fedora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 64)))]
    pub distribution: Option<String>,
    /// Distribution version of os-release, as `12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 64)))]
    pub version: Option<String>,
    /// Machine architecture, as `x86_64` or `aarch64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schemars(length(min = 1, max = 64)))]
    pub arch: Option<String>,
}

impl Platform {
    /// Whether a client that reports `actual` is such a platform.
    #[must_use]
    pub fn matches(&self, actual: &Platform) -> bool {
        let agrees = |wanted: &Option<String>, have: &Option<String>| wanted.is_none() || wanted == have;
        agrees(&self.os, &actual.os)
            && agrees(&self.distribution, &actual.distribution)
            && agrees(&self.version, &actual.version)
            && agrees(&self.arch, &actual.arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_fields_must_agree() {
        let debian = Platform {
            os: Some("linux".into()),
            distribution: Some("debian".into()),
            version: Some("12".into()),
            arch: Some("x86_64".into()),
        };
        assert!(Platform::default().matches(&debian));
        assert!(Platform { os: Some("linux".into()), ..Platform::default() }.matches(&debian));
        assert!(!Platform { arch: Some("aarch64".into()), ..Platform::default() }.matches(&debian));
    }
}
