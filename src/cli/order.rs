//! Options in front of a subcommand, as in `ssmfwd --region eu-west-1 shell i-0abc`.
//!
//! To the parser they would be those of the main job, whose TARGET the subcommand's name would be: it has to come first.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// Moves a subcommand in front of the options that stand before it, where they mean what they mean behind it. `arguments`
/// begin with the program's name.
pub(super) fn subcommand_first(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    if let Some(index) = first_word(&command, &arguments)
        && command.find_subcommand(&arguments[index]).is_some()
    {
        arguments[1..=index].rotate_right(1);
    }
    arguments
}

/// Finds the first of `arguments`, behind the program's name, that is neither an option nor the value of one.
pub(super) fn first_word(command: &Command, arguments: &[OsString]) -> Option<usize> {
    let mut words = arguments.iter().enumerate().skip(1);
    while let Some((index, word)) = words.next() {
        match word.to_str() {
            Some("--") => return None,
            Some(option) if option.starts_with('-') => {
                if is_value_next(command, option) {
                    words.next();
                }
            }
            _ => return Some(index),
        }
    }
    None
}

/// Whether the word behind `option` is its value, which is so for no option of one letter.
fn is_value_next(command: &Command, option: &str) -> bool {
    let Some(name) = option.strip_prefix("--") else {
        return false;
    };
    let mut arguments = std::iter::once(command)
        .chain(command.get_subcommands())
        .flat_map(Command::get_arguments);
    // A name means the same to every command that has it.
    let found = arguments.find(|argument| argument.get_long() == Some(name));
    found.is_some_and(takes_next)
}

fn takes_next(argument: &Arg) -> bool {
    argument.get_action().takes_values() && !argument.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ordered(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let ordered = subcommand_first(words);
        ordered.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn a_subcommand_comes_before_its_options() {
        for (typed, expected) in [
            (
                "ssmfwd --region eu-west-1 shell i-0abc",
                "ssmfwd shell --region eu-west-1 i-0abc",
            ),
            (
                "ssmfwd -vv --region=x --any exec web -- ls",
                "ssmfwd exec -vv --region=x --any web -- ls",
            ),
            ("ssmfwd --tty exec web", "ssmfwd exec --tty web"),
            ("ssmfwd --push-key proxy web", "ssmfwd proxy --push-key web"),
        ] {
            assert_eq!(ordered(typed), expected);
        }
    }

    #[test]
    fn what_is_no_subcommand_stays_where_it_is() {
        for line in [
            "ssmfwd",
            "ssmfwd --profile",
            "ssmfwd --profile shell web 80",
            "ssmfwd -v web shell",
            "ssmfwd -v -- shell",
            "ssmfwd shell -v web",
        ] {
            assert_eq!(ordered(line), line);
        }
    }

    #[test]
    fn a_name_means_the_same_to_every_command() {
        let command = Cli::command();
        let commands = std::iter::once(&command).chain(command.get_subcommands());
        let mut known = BTreeMap::new();
        for argument in commands.flat_map(Command::get_arguments) {
            if let Some(name) = argument.get_long() {
                let takes = takes_next(argument);
                assert_eq!(*known.entry(name).or_insert(takes), takes, "--{name}");
            }
            if let Some(letter) = argument.get_short() {
                assert!(!argument.get_action().takes_values(), "-{letter}");
            }
        }
    }
}
