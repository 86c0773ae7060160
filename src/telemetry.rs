//! Log output, set up once per process. Does not decide what is logged where: call sites do.

use std::{
    io::{IsTerminal as _, stderr},
    str::FromStr,
};

use tracing_subscriber::EnvFilter;

/// The Kubernetes client's library, which logs every connection that fails.
const CLIENT: &str = "kube_client::client::builder";
/// How much is logged.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What to log: levels, and levels of single targets, as `info` or `waybill=debug,warn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// A text that says nothing about what to log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no level ({levels}) and not TARGET=LEVEL, as waybill=debug", levels = LEVELS.join(", "))]
pub struct FilterError(String);

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        // The library takes a word that is no level for a target of which everything is logged: a typing error would
        // silence the log, or flood it.
        let known = |part: &&str| LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
        let spans = text.contains('[');
        let bare = text.split(',').map(str::trim).filter(|part| !spans && !part.contains('='));
        if let Some(odd) = bare.into_iter().find(|part| !known(part)) {
            return Err(FilterError(odd.to_owned()));
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(FilterError(text.to_owned())),
        }
    }
}

impl Filter {
    fn directives(&self) -> EnvFilter {
        // Whoever calls the library is given the error, and says it; the library's own line would only repeat it, worse.
        let quiet = if self.0.contains(CLIENT) { String::new() } else { format!("{CLIENT}=off,") };
        EnvFilter::new(format!("{quiet}{}", self.0))
    }
}

/// Writes log lines to standard error, as `filter` says.
///
/// A second call in one process changes nothing, so that tests may call it freely.
pub fn init(filter: &Filter) {
    let lines = tracing_subscriber::fmt().with_env_filter(filter.directives()).with_writer(stderr);
    // Colours are for eyes: in a file or a journal they would be noise between the words.
    let lines = lines.with_ansi(stderr().is_terminal());
    // A log that cannot be written (full disk, closed pipe) is lost in silence: the complaint about it would panic.
    let _ = lines.log_internal_errors(false).try_init();
}

/// Warnings and errors only: for processes that nobody started by hand.
#[must_use]
pub fn warnings() -> Filter {
    Filter("warn".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_levels_and_targets_with_levels_and_nothing_else() {
        for good in ["info", "WARN", "off", "waybill=debug,warn", "waybill::dp=trace", "waybill[run]=debug"] {
            assert_eq!(good.parse(), Ok(Filter(good.to_owned())));
        }
        for (bad, odd) in [("nonsense", "nonsense"), ("info,inof", "inof"), ("waybill=loud", "waybill=loud"), ("", "")]
        {
            assert_eq!(bad.parse::<Filter>(), Err(FilterError(odd.to_owned())), "{bad}");
        }
        assert_eq!("info".parse::<Filter>().unwrap().directives().to_string(), format!("{CLIENT}=off,info"));
        let asked = format!("{CLIENT}=debug");
        assert_eq!(asked.parse::<Filter>().unwrap().directives().to_string(), asked);
        let said = FilterError("nonsense".to_owned()).to_string();
        assert!(said.contains("info") && said.contains("waybill=debug"), "{said}");
    }
}
