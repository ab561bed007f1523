//! A list to choose a target from.

use std::io::{self, BufRead};

use crate::aws::{Node, Target};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, nodes};

/// Asks on the terminal which of `nodes` is meant, until the answer is clear; `None` if there is none.
///
/// What is typed is a number of the list, or part of what the list shows, which shortens it; an empty line shows all
/// again. Nothing has to be undone when this is given up: the terminal is as it always is.
///
/// # Errors
///
/// When standard input cannot be read.
pub(super) async fn pick<'a>(
    target: &Target,
    nodes: &'a [Node],
    printer: &Printer,
) -> Result<Option<&'a Node>, Failure> {
    let mut shown: Vec<&Node> = nodes.iter().collect();
    printer.aside(format!("{} targets match `{target}`:\n", nodes.len()));
    loop {
        printer.aside(list(&shown));
        printer.aside("number, or text to look for: ");
        let Some(answer) = read_line().await? else {
            printer.aside("\n");
            return Ok(None);
        };
        match judge(&answer, nodes, &shown) {
            Answer::Picked(node) => return Ok(Some(node)),
            Answer::Shortened(list) => shown = list,
            Answer::NoNumber => printer.aside(format!(
                "{answer} is no number of this list, which has 1 to {}\n",
                shown.len()
            )),
            Answer::Unknown => printer.aside(format!(
                "nothing there matches `{answer}`; an empty line shows all\n"
            )),
        }
    }
}

/// What follows from what was typed.
#[derive(Debug, PartialEq)]
enum Answer<'a> {
    Picked(&'a Node),
    Shortened(Vec<&'a Node>),
    /// A number, but none of the list.
    NoNumber,
    /// Text that nothing in the list has.
    Unknown,
}

fn judge<'a>(answer: &str, nodes: &'a [Node], shown: &[&'a Node]) -> Answer<'a> {
    if answer.is_empty() {
        return Answer::Shortened(nodes.iter().collect());
    }
    // Never text to look for: the digits of some address would choose a node nobody has meant.
    if answer.bytes().all(|b| b.is_ascii_digit()) {
        let index = answer.parse().ok().and_then(|n: usize| n.checked_sub(1));
        let node = index.and_then(|index| shown.get(index));
        return node.map_or(Answer::NoNumber, |node| Answer::Picked(node));
    }
    let words: Vec<_> = answer.split_whitespace().map(str::to_lowercase).collect();
    let matches = |node: &&Node| {
        let text = nodes::cells(node).join(" ").to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let list: Vec<_> = shown.iter().copied().filter(matches).collect();
    match list[..] {
        [] => Answer::Unknown,
        [node] => Answer::Picked(node),
        _ => Answer::Shortened(list),
    }
}

/// The nodes with their numbers.
fn list(shown: &[&Node]) -> String {
    let width = (shown.len().to_string()).len();
    let lines = nodes::lines(shown.iter().copied());
    let numbered = lines.iter().enumerate().map(|(index, line)| match index {
        // The headings.
        0 => format!("{:width$}  {line}\n", ""),
        number => format!("{number:width$}  {line}\n"),
    });
    numbered.collect()
}

/// Reads a line from standard input, without its end; `None` at the end of the input.
async fn read_line() -> Result<Option<String>, Failure> {
    // The terminal hands out one line at a time, so that nothing is taken from whoever reads after this.
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let len = io::stdin().lock().read_line(&mut line)?;
        io::Result::Ok((len > 0).then_some(line))
    });
    let line = match reading.await {
        Ok(line) => line,
        Err(error) => Err(io::Error::other(error)),
    };
    let line = line.map_err(|error| {
        let message = format!("cannot read the answer from standard input: {error}");
        Failure::new(Exit::Failure, message)
    })?;
    Ok(line.map(|line| line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::NodeState;

    fn node(id: &str, zone: &str) -> Node {
        Node {
            id: id.into(),
            name: Some("web".into()),
            zone: Some(zone.into()),
            state: NodeState::Online,
            ..Node::default()
        }
    }

    #[test]
    fn a_number_or_a_part_that_only_one_has_is_an_answer() {
        let nodes = [node("i-1", "a"), node("i-2", "b"), node("i-22", "b")];
        let all: Vec<_> = nodes.iter().collect();
        let answer = |typed: &str| judge(typed, &nodes, &all);
        assert_eq!(answer("1"), Answer::Picked(&nodes[0]));
        assert_eq!(answer("I-1"), Answer::Picked(&nodes[0]));
        assert_eq!(answer("i-2"), Answer::Shortened(all[1..].to_vec()));
        assert_eq!(answer("web b i-22"), Answer::Picked(&nodes[2]));
        assert_eq!(answer("22"), Answer::NoNumber);
        assert_eq!(answer("0"), Answer::NoNumber);
        assert_eq!(answer("99999999999999999999999"), Answer::NoNumber);
        assert_eq!(answer("4"), Answer::NoNumber);
        assert_eq!(answer("db"), Answer::Unknown);
        assert_eq!(answer(""), Answer::Shortened(all.clone()));
    }

    #[test]
    fn numbers_are_those_of_the_list_as_it_is_shown() {
        let nodes = [node("i-1", "a"), node("i-2", "b"), node("i-3", "b")];
        let shown: Vec<_> = nodes[1..].iter().collect();
        assert_eq!(judge("1", &nodes, &shown), Answer::Picked(&nodes[1]));
        assert_eq!(judge("3", &nodes, &shown), Answer::NoNumber);
        assert_eq!(judge("i-1", &nodes, &shown), Answer::Unknown);
        assert_eq!(
            judge("", &nodes, &shown),
            Answer::Shortened(nodes.iter().collect())
        );
        let listed = list(&shown);
        assert!(listed.contains("\n1  web   i-2 "), "{listed}");
    }
}
