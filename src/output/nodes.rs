//! Nodes in a table.

use std::ops::Range;

use super::one_line;
use crate::aws::Node;

const HEADINGS: [&str; 9] = [
    "NAME",
    "ID",
    "STATE",
    "AGENT",
    "CAN",
    "ZONE",
    "IP",
    "PLATFORM",
    "LAST PING",
];

/// Columns that are cut short where there is no room: NAME and PLATFORM. All others are of use only as a whole.
const ELASTIC: [usize; 2] = [7, 0];

/// The fewest characters that an elastic column is cut to.
const MIN_LEN: usize = 8;

/// Space between two columns.
const GAP: &str = "  ";

/// Space before the columns that are below the others.
const INDENT: &str = "    ";

/// A table with one line for each node below the headings. Columns without any content are left out.
pub fn lines<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    fitted(nodes, usize::MAX)
}

/// The same, cut to lines of at most `width` characters. Columns for which there is no room are below the others, the same for
/// every node.
pub fn fitted<'a>(nodes: impl IntoIterator<Item = &'a Node>, width: usize) -> Vec<String> {
    let headings = HEADINGS.map(str::to_owned);
    let rows: Vec<_> = nodes.into_iter().map(cells).collect();
    let mut lens: Lens = std::array::from_fn(|column| {
        let lens = rows.iter().map(|row| row[column].chars().count());
        match lens.max().unwrap_or_default() {
            0 => 0,
            len => len.max(headings[column].len()),
        }
    });
    lens = cut(lens, width);
    let shelves = shelves(&lens, width);
    std::iter::once(&headings)
        .chain(&rows)
        .flat_map(|row| shelves.iter().map(|shelf| line(row, &lens, shelf)))
        .filter(|line| !line.is_empty())
        .collect()
}

/// How long each column is; 0 if it is left out.
type Lens = [usize; HEADINGS.len()];

/// Cuts the elastic columns, if that makes everything fit on one line, or where one alone is too long for a line.
fn cut(lens: Lens, width: usize) -> Lens {
    let used = lens.iter().filter(|len| **len > 0);
    let total = used.map(|len| len + GAP.len()).sum::<usize>();
    let mut surplus = total.saturating_sub(GAP.len()).saturating_sub(width);
    let mut cut = lens;
    for column in ELASTIC {
        let less = surplus.min(lens[column].saturating_sub(MIN_LEN));
        cut[column] -= less;
        surplus -= less;
    }
    if surplus == 0 {
        return cut;
    }
    let mut cut = lens;
    for column in ELASTIC {
        let room = width.saturating_sub(INDENT.len()).max(MIN_LEN);
        cut[column] = lens[column].min(room);
    }
    cut
}

/// Which columns are on each of a node's lines.
fn shelves(lens: &Lens, width: usize) -> Vec<Range<usize>> {
    let (mut shelves, mut start, mut end) = (Vec::new(), 0, 0);
    for (column, len) in lens.iter().enumerate().filter(|(_, len)| **len > 0) {
        if end > INDENT.len() && end + len > width {
            shelves.push(start..column);
            (start, end) = (column, INDENT.len());
        }
        end += len + GAP.len();
    }
    shelves.push(start..lens.len());
    shelves
}

fn line(row: &[String; HEADINGS.len()], lens: &Lens, shelf: &Range<usize>) -> String {
    let cells = shelf.clone().zip(&row[shelf.clone()]);
    let used = cells.filter(|(column, _)| lens[*column] > 0);
    let cells: Vec<_> = used
        .map(|(column, cell)| {
            let len = lens[column];
            format!("{:len$}", shortened(cell, len))
        })
        .collect();
    let indent = if shelf.start == 0 { "" } else { INDENT };
    format!("{indent}{}", cells.join(GAP)).trim_end().to_owned()
}

/// What each column says of a node.
pub fn cells(node: &Node) -> [String; HEADINGS.len()] {
    let text = |text: &Option<String>| text.as_ref().map(one_line).unwrap_or_default();
    [
        text(&node.name),
        one_line(&node.id),
        node.state.name().to_owned(),
        text(&node.agent_version),
        abilities(node).to_owned(),
        text(&node.zone),
        text(&node.ip),
        text(&node.platform),
        text(&node.last_ping),
    ]
}

/// What the agent's version allows: `mux`, many connections in one session, and `hosts`, connections to other hosts.
fn abilities(node: &Node) -> &'static str {
    match (node.multiplexing, node.remote_host) {
        (Some(true), Some(true)) => "mux, hosts",
        (Some(true), _) => "mux",
        (_, Some(true)) => "hosts",
        (Some(false), _) => "-",
        (None, _) => "",
    }
}

fn shortened(text: &str, len: usize) -> String {
    match text.char_indices().nth(len) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(len.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::NodeState;

    fn nodes() -> [Node; 2] {
        let full = Node {
            id: "i-0abc".into(),
            name: Some("web\u{1b}[2J server".into()),
            state: NodeState::Online,
            agent_version: Some("3.3.987.0".into()),
            multiplexing: Some(true),
            remote_host: Some(true),
            platform: Some("Microsoft Windows Server 2022 Datacenter".into()),
            last_ping: Some("2026-01-02T03:04:05Z".into()),
            ..Node::default()
        };
        let bare = Node {
            id: "mi-0123456789abcdef0".into(),
            ..Node::default()
        };
        [full, bare]
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        assert_eq!(
            lines(&nodes()),
            [
                "NAME            ID                    STATE    AGENT      CAN         \
                 PLATFORM                                  LAST PING",
                "web [2J server  i-0abc                online   3.3.987.0  mux, hosts  \
                 Microsoft Windows Server 2022 Datacenter  2026-01-02T03:04:05Z",
                "                mi-0123456789abcdef0  offline",
            ]
        );
    }

    #[test]
    fn names_and_platforms_make_room() {
        let lines = fitted(&nodes(), 110);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 110),
            "{lines:?}"
        );
        assert!(lines[1].contains("  Microsoft Windows…  2026"), "{lines:?}");
    }

    #[test]
    fn columns_without_room_are_below_the_others() {
        assert_eq!(
            fitted(&nodes(), 60),
            [
                "NAME            ID                    STATE    AGENT",
                "    CAN         PLATFORM",
                "    LAST PING",
                "web [2J server  i-0abc                online   3.3.987.0",
                "    mux, hosts  Microsoft Windows Server 2022 Datacenter",
                "    2026-01-02T03:04:05Z",
                "                mi-0123456789abcdef0  offline",
            ]
        );
        let narrow = fitted(&nodes(), 30);
        assert!(
            narrow.contains(&"    Microsoft Windows Server …".to_owned()),
            "{narrow:?}"
        );
    }
}
