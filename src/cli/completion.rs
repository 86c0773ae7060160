//! `waybill completion`: a script that completes verbs and options in a shell. For kubectl, which asks plugins one word at a time,
//! the words themselves.

use std::io::Write;

use anyhow::Result;
use clap::{Arg, Command};
use clap_complete::Shell;

/// What kubectl is told at the end: that no names of files follow.
const NO_FILES: &str = ":4";

/// Write a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Writes the script for the whole command line of the program that is called so.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn run(&self, mut command: Command, program: &str, out: &mut impl Write) -> Result<u8> {
        // The generator panics on a closed pipe: it writes into memory first.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, program, &mut script);
        out.write_all(&script)?;
        Ok(0)
    }
}

/// Writes what may stand in place of the last of `words`, as kubectl reads it.
///
/// # Errors
/// If it cannot be written.
pub(super) fn next_words(mut command: Command, words: &[String], out: &mut impl Write) -> Result<u8> {
    command.build();
    let (typed, before) = words.split_last().map_or(("", words), |(typed, before)| (typed.as_str(), before));
    for word in candidates(&command, before).into_iter().filter(|word| word.starts_with(typed)) {
        // Options only for who begins one: verbs are what is asked for otherwise.
        if word.starts_with('-') == typed.starts_with('-') {
            writeln!(out, "{word}")?;
        }
    }
    writeln!(out, "{NO_FILES}")?;
    Ok(0)
}

fn candidates(command: &Command, before: &[String]) -> Vec<String> {
    let mut verb = command;
    for word in before {
        verb = verb.find_subcommand(word).unwrap_or(verb);
    }
    let values = |argument: &Arg| -> Vec<String> {
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
    };
    if let Some(option) = before.last().and_then(|word| verb.get_arguments().find(|one| takes_value(one, word))) {
        return values(option);
    }
    let verbs = verb.get_subcommands().filter(|one| !one.is_hide_set()).map(|one| one.get_name().to_owned());
    let options = verb.get_arguments().filter(|one| !one.is_hide_set()).filter_map(Arg::get_long);
    let positional = verb.get_positionals().flat_map(values);
    verbs.chain(options.map(|long| format!("--{long}"))).chain(positional).collect()
}

/// Whether the word is this option, and a value has to follow.
fn takes_value(option: &Arg, word: &str) -> bool {
    let named = word.strip_prefix("--").is_some_and(|long| option.get_long() == Some(long))
        || word.strip_prefix('-').is_some_and(|short| option.get_short().is_some_and(|one| short == one.to_string()));
    named && option.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use clap::arg;

    use super::*;

    fn next(words: &[&str]) -> String {
        let list =
            Command::new("list").arg(arg!(--output <FORM>).value_parser(["table", "json"])).arg(arg!(-q - -quiet));
        let shell = Command::new("shell").arg(arg!(<SHELL>).value_parser(["bash", "zsh"]));
        let command = Command::new("x").subcommand(list).subcommand(shell).subcommand(Command::new("old").hide(true));
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        next_words(command, &words, &mut out).unwrap();
        String::from_utf8(out).unwrap().replace('\n', " ")
    }

    #[test]
    fn verbs_options_and_values_follow_where_they_may_stand() {
        for (words, expected) in [
            (&[""][..], "list shell help :4 "),
            (&["l"], "list :4 "),
            (&["list", "--"], "--output --quiet --help :4 "),
            (&["list", "--output", ""], "table json :4 "),
            (&["list", "--quiet", "--o"], "--output :4 "),
            (&["shell", "z"], "zsh :4 "),
            (&["list", ""], ":4 "),
            (&[], "list shell help :4 "),
        ] {
            assert_eq!(next(words), expected, "{words:?}");
        }
    }
}
