//! How far an act is: bars on a terminal, a line for every step otherwise.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::out::Out;

/// The lines of one act.
pub(super) struct Progress {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    shown: Vec<u64>,
}

impl Progress {
    /// `goals`: label and how many make it complete.
    pub(super) fn new(goals: &[(&str, u64)]) -> Self {
        let bars = std::io::stdout().is_terminal().then(|| {
            let all = MultiProgress::new();
            let style = ProgressStyle::with_template("  {msg:34} {bar:30} {pos:>3}/{len}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bars = goals.iter().map(|(label, total)| {
                let bar = all.add(ProgressBar::new(*total).with_style(style.clone()));
                bar.set_message((*label).to_owned());
                bar.tick();
                bar
            });
            let bars = bars.collect();
            (all, bars)
        });
        Self { bars, shown: vec![0; goals.len()] }
    }

    /// Shows where a goal stands.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn set(&mut self, out: &mut Out, index: usize, label: &str, done: u64, total: u64) -> io::Result<()> {
        if self.shown[index] == done {
            return Ok(());
        }
        self.shown[index] = done;
        match &self.bars {
            Some((_, bars)) => bars[index].set_position(done),
            None => out.say(&format!("  {label}: {done}/{total}"))?,
        }
        Ok(())
    }

    /// Leaves the bars where they are.
    pub(super) fn finish(&self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars) {
            bar.abandon();
        }
    }
}
