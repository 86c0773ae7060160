//! What of a sync's state goes to the log: each thing once, when it is new or over, however often the sync looks.

use std::collections::BTreeSet;

use super::{
    diagnostic::{Diagnostic, Severity, printable},
    plan_sync::Guard,
    state::RevisionState,
};

/// Problems told at one time; as many as `Site.status` lists.
const PROBLEMS_MAX: usize = 50;
/// Removals that are named; `Site.status` lists more.
const REMOVALS_MAX: usize = 10;

/// Ignored documents that are named; `waybill validate` lists all.
const IGNORED_MAX: usize = 10;

/// Where the lines are said to come from: filters name the sync, not this file.
const TARGET: &str = "waybill::gitops::sync";

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// All is well.
    Info(String),
    /// Probably not meant.
    Warning(String),
    /// Somebody has to act.
    Error(String),
}

impl News {
    pub(crate) fn log(&self) {
        match self {
            Self::Info(text) => tracing::info!(target: TARGET, "git sync: {text}"),
            Self::Warning(text) => tracing::warn!(target: TARGET, "git sync: {text}"),
            Self::Error(text) => tracing::error!(target: TARGET, "git sync: {text}"),
        }
    }
}

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Told {
    revision: String,
    unreadable: Option<String>,
    problems: BTreeSet<String>,
    ignored: Vec<String>,
    guard: Option<(Option<String>, usize)>,
}

impl Told {
    /// What is to be told of this state.
    pub(crate) fn news(&mut self, state: &RevisionState) -> Vec<News> {
        if state.applying {
            return Vec::new();
        }
        let mut news = Vec::new();
        if self.unreadable != state.problem {
            news.push(match &state.problem {
                Some(problem) => News::Error(problem.clone()),
                None => News::Info("the manifests can be read again".to_owned()),
            });
            self.unreadable.clone_from(&state.problem);
        }
        // While the source cannot be read, the rest is what was read before.
        if state.problem.is_none() {
            self.problems(&state.diagnostics, &mut news);
            self.revision(state, &mut news);
        }
        self.guard(state.guard.as_ref(), &mut news);
        news
    }

    fn problems(&mut self, diagnostics: &[Diagnostic], news: &mut Vec<News>) {
        // Documents of others are listed with the revision.
        let now: Vec<(Severity, String)> = diagnostics
            .iter()
            .filter(|one| one.severity > Severity::Note)
            .map(|one| (one.severity, one.to_string()))
            .collect();
        let new: Vec<_> = now.iter().filter(|(_, text)| !self.problems.contains(text)).collect();
        news.extend(new.iter().take(PROBLEMS_MAX).map(|(severity, text)| match severity {
            Severity::Error => News::Error(text.clone()),
            Severity::Warning | Severity::Note => News::Warning(text.clone()),
        }));
        if let Some(more) = new.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
            news.push(News::Warning(format!("{more} more problems; `waybill validate DIR` shows all")));
        }
        if now.is_empty() && !self.problems.is_empty() {
            news.push(News::Info("all problems of the manifests are mended".to_owned()));
        }
        self.problems = now.into_iter().map(|(_, text)| text).collect();
    }

    fn revision(&mut self, state: &RevisionState, news: &mut Vec<News>) {
        if self.revision == state.revision {
            return;
        }
        self.revision.clone_from(&state.revision);
        news.push(if state.objects == 0 {
            News::Warning(format!(
                "revision {} is in force and declares nothing: no manifest holds an object of waybill.dev",
                state.revision
            ))
        } else {
            News::Info(format!("revision {} is in force{}: {}", state.revision, except(state), objects(state.objects)))
        });
        self.ignored(&state.diagnostics, news);
    }

    /// What is of others, in one line, when it changes.
    fn ignored(&mut self, diagnostics: &[Diagnostic], news: &mut Vec<News>) {
        let notes = diagnostics.iter().filter(|one| one.severity == Severity::Note && one.line > 0);
        let now: Vec<String> =
            notes.map(|one| format!("{}:{}:{}", printable(&one.file), one.line, one.column)).collect();
        if self.ignored == now {
            return;
        }
        if !now.is_empty() {
            let mut named: Vec<String> = now.iter().take(IGNORED_MAX).cloned().collect();
            named
                .extend(now.len().checked_sub(IGNORED_MAX).filter(|more| *more > 0).map(|more| format!("{more} more")));
            let count = if now.len() == 1 { "1 document".to_owned() } else { format!("{} documents", now.len()) };
            news.push(News::Info(format!("{count} of other groups ignored: {}", named.join(", "))));
        }
        self.ignored = now;
    }

    fn guard(&mut self, guard: Option<&Guard>, news: &mut Vec<News>) {
        let now = guard.map(|guard| (guard.revision.clone(), guard.removals.len()));
        if self.guard == now {
            return;
        }
        match guard {
            Some(guard) => news.push(News::Error(held_back(guard))),
            None => news.push(News::Info("nothing is held back any more".to_owned())),
        }
        self.guard = now;
    }
}

/// What of the revision is not in force.
fn except(state: &RevisionState) -> String {
    let problems = state.diagnostics.iter().any(|one| one.severity == Severity::Error).then_some("its problems");
    let removals = state.guard.is_some().then_some("its removals, which are held back");
    let all: Vec<&str> = [problems, removals].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" except for {}", all.join(" and ")) }
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

fn held_back(guard: &Guard) -> String {
    let (count, owned) = (guard.removals.len(), guard.owned);
    let Some(revision) = &guard.revision else {
        return format!("nothing is removed meanwhile: all {owned} declared objects stay");
    };
    let mut named: Vec<String> = guard.removals.iter().take(REMOVALS_MAX).map(ToString::to_string).collect();
    named.extend(count.checked_sub(REMOVALS_MAX).filter(|more| *more > 0).map(|more| format!("{more} more")));
    format!(
        "revision {revision} would remove {count} of {owned} objects at once and removes nothing: {}. If it is meant: \
         waybill sync acknowledge {revision}. If not: bring the manifests back",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitops::{diagnostic::Place, kinds::ObjectKey};

    fn state(revision: &str, objects: usize) -> RevisionState {
        RevisionState { applying: false, revision: revision.to_owned(), objects, ..RevisionState::default() }
    }

    fn broken(line: u32) -> Diagnostic {
        Diagnostic::at(Severity::Error, "a.yaml", "x\ny\n", Place { line, column: 1 }, "odd")
    }

    #[test]
    fn each_thing_is_told_once_and_its_end_as_well() {
        let mut told = Told::default();
        assert_eq!(told.news(&RevisionState::default()), [], "nothing is known yet");
        let first = state("r1", 3);
        assert_eq!(told.news(&first), [News::Info("revision r1 is in force: 3 objects".to_owned())]);
        assert_eq!(told.news(&first), []);

        let note = Diagnostic::of_file(Severity::Note, "b.yaml", "ignored");
        let warning = Diagnostic::of_file(Severity::Warning, "c", "a link");
        let second = RevisionState { diagnostics: vec![broken(2), warning, note], ..state("r2", 3) };
        let expected = [
            News::Error("a.yaml:2:1: odd\n 2 | y\n   | ^".to_owned()),
            News::Warning("c: warning: a link".to_owned()),
            News::Info("revision r2 is in force except for its problems: 3 objects".to_owned()),
        ];
        assert_eq!(told.news(&second), expected);
        assert_eq!(told.news(&RevisionState { objects: 4, ..second.clone() }), []);
        let one_left = RevisionState { diagnostics: vec![broken(2), broken(1)], ..second };
        assert_eq!(told.news(&one_left), [News::Error("a.yaml:1:1: odd\n 1 | x\n   | ^".to_owned())]);
        assert_eq!(told.news(&state("r2", 3)), [News::Info("all problems of the manifests are mended".to_owned())]);
        let at = |line| Diagnostic::placed(Severity::Note, "b.yaml", Place { line, column: 1 }, "ignored");
        let foreign = RevisionState { diagnostics: (1..=11).map(at).collect(), ..state("r4", 3) };
        let News::Info(listed) = &told.news(&foreign)[1] else { panic!() };
        assert!(listed.starts_with("11 documents of other groups ignored: b.yaml:1:1, "), "{listed}");
        assert!(listed.ends_with("b.yaml:10:1, 1 more"), "{listed}");
        assert_eq!(told.news(&RevisionState { revision: "r5".to_owned(), ..foreign }).len(), 1, "listed once");
        assert!(matches!(&told.news(&state("r3", 0))[..], [News::Warning(text)] if text.contains("declares nothing")));
    }

    #[test]
    fn a_source_that_is_away_and_a_guard_are_told_with_what_to_do() {
        let mut told = Told::default();
        told.news(&state("r1", 2));
        let removals = vec![ObjectKey::cluster("Site", "main"), ObjectKey::namespaced("Package", "default", "p")];
        let away = RevisionState {
            problem: Some("the directory is gone".to_owned()),
            guard: Some(Guard { revision: None, removals: removals.clone(), owned: 2 }),
            ..state("r1", 2)
        };
        let expected = [
            News::Error("the directory is gone".to_owned()),
            News::Error("nothing is removed meanwhile: all 2 declared objects stay".to_owned()),
        ];
        assert_eq!(told.news(&away), expected);
        assert_eq!(told.news(&away), []);
        let guard = Some(Guard { revision: Some("r2".to_owned()), removals, owned: 2 });
        let guarded = RevisionState { guard, ..state("r2", 2) };
        let news = told.news(&guarded);
        assert_eq!(news[0], News::Info("the manifests can be read again".to_owned()));
        let excepted = "revision r2 is in force except for its removals, which are held back: 2 objects";
        assert_eq!(news[1], News::Info(excepted.to_owned()));
        let News::Error(text) = &news[2] else { panic!("{news:?}") };
        for expected in ["would remove 2 of 2", "Package default/p", "waybill sync acknowledge r2"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(told.news(&guarded), []);
        assert_eq!(told.news(&state("r2", 0)), [News::Info("nothing is held back any more".to_owned())]);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let many = (1..=60).map(|line| Diagnostic::placed(Severity::Error, "a", Place { line, column: 1 }, "odd"));
        let news = Told::default().news(&RevisionState { diagnostics: many.collect(), ..state("r1", 1) });
        assert_eq!(news.len(), PROBLEMS_MAX + 2);
        assert!(matches!(&news[PROBLEMS_MAX], News::Warning(text) if text.starts_with("10 more problems")));
    }
}
