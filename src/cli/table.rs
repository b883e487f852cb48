//! How do rows become columns?

use unicode_width::UnicodeWidthStr;

/// On which side a column's texts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lines of equal columns: the headings, then the rows. Two spaces stand between columns, none at the
/// end of a line.
pub(super) fn lines(columns: &[(&str, Side)], rows: &[Vec<String>]) -> Vec<String> {
    let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width =
        |i: usize| all.iter().filter_map(|row| row.get(i)).map(|text| text.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(columns).zip(&widths).map(|((text, (_, side)), width)| {
            let space = " ".repeat(width - text.width());
            if *side == Side::Left { format!("{text}{space}") } else { format!("{space}{text}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right_by_their_width() {
        let columns = [("name", Side::Left), ("loss", Side::Right), ("state", Side::Left)];
        let row = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
        let rows = [row(["日本", "0.5", "running"]), row(["a", "12.25", ""])];
        assert_eq!(lines(&columns, &rows), ["name   loss  state", "日本    0.5  running", "a     12.25"]);
    }
}
