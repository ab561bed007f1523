//! Lines no wider than a terminal, broken between words.

/// Breaks `line` into lines of at most `width` characters, of which those after the first begin with `indent` spaces. A word
/// that is longer stays whole, so that it can be copied; without a width, so does the line.
pub(super) fn hanging(line: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else {
        return line.to_owned();
    };
    let mut wrapped = String::with_capacity(line.len());
    let (mut column, mut gap) = (0, 0);
    for piece in line.split_inclusive(' ') {
        let word = piece.trim_end_matches(' ');
        let len = word.chars().count();
        if len > 0 {
            if column > indent && column + gap + len > width {
                wrapped.push('\n');
                (column, gap) = (0, indent);
            }
            wrapped.extend(std::iter::repeat_n(' ', gap));
            wrapped.push_str(word);
            column += gap + len;
            gap = 0;
        }
        gap += piece.len() - word.len();
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let wrap = |width| hanging("ok    one two three-and-more four", 6, Some(width));
        assert_eq!(wrap(40), "ok    one two three-and-more four");
        assert_eq!(wrap(28), "ok    one two three-and-more\n      four");
        assert_eq!(wrap(27), "ok    one two\n      three-and-more four");
        assert_eq!(
            wrap(10),
            "ok    one\n      two\n      three-and-more\n      four"
        );
        assert_eq!(
            wrap(1),
            "ok    one\n      two\n      three-and-more\n      four"
        );
    }

    #[test]
    fn what_leads_a_line_stays_with_it() {
        assert_eq!(
            hanging("      fix: wait a little", 11, Some(20)),
            "      fix: wait a\n           little"
        );
        assert_eq!(hanging("a  b", 2, None), "a  b");
        assert_eq!(hanging("ä ö", 1, Some(3)), "ä ö");
    }
}
