//! How is the page written in Markdown?

use std::fmt::Write;

use super::page::{Block, Cell, Page, Square, Table};

/// Squares in a row of a board.
const A_ROW: usize = 60;

/// The page, for any reader of GitHub's Markdown. Its charts lie beside it.
pub(super) fn text(page: &Page) -> String {
    let mut text =
        format!("# {}\n\n**{}**\n\n{}\n", plain(&page.title), plain(&page.result), plain(&page.about));
    for section in &page.sections {
        let _ = write!(text, "\n## {}\n", section.heading);
        for block in &section.blocks {
            let _ = write!(text, "\n{}\n", written(block));
        }
    }
    text
}

fn written(block: &Block) -> String {
    match block {
        Block::Text(text) => plain(text),
        Block::List(items) => {
            items.iter().map(|item| format!("- {}", plain(item))).collect::<Vec<_>>().join("\n")
        }
        Block::Picture(name, chart) => format!("![{}]({name}.png)", plain(&chart.told())),
        Block::Table(table) => self::table(table),
        Block::Code(code) => format!("```sh\n{code}\n```"),
        Block::Board(squares) => {
            let row = |row: &[Square]| row.iter().map(|square| square.sign).collect::<String>();
            let rows: Vec<String> = squares.chunks(A_ROW).map(row).collect();
            format!("```text\n{}\n```", rows.join("\n"))
        }
    }
}

fn table(table: &Table) -> String {
    let mut columns = vec!["---"; table.n_words];
    columns.resize(table.head.len(), "--:");
    let head: Vec<String> = table.head.iter().map(|name| plain(name)).collect();
    let mut lines = vec![row(&head), row(&columns)];
    lines.extend(table.rows.iter().map(|cells| row(&cells.iter().map(cell).collect::<Vec<_>>())));
    lines.join("\n")
}

fn row(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}

fn cell(cell: &Cell) -> String {
    // Within code only what would end the cell or the code counts.
    if cell.is_code && !cell.text.is_empty() && !cell.text.contains(['`', '\n']) {
        return format!("`{}`", cell.text.replace('|', "\\|"));
    }
    plain(&cell.text)
}

/// Text that means itself: what Markdown would take for a sign has a backslash before it.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let within_word = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '\n' | '\r' => out.push(' '),
            '_' if within_word => out.push(c),
            '\\' | '`' | '*' | '_' | '<' | '>' | '|' | '[' | ']' | '#' | '~' | '&' => out.extend(['\\', c]),
            _ => out.push(c),
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(plain("two_hop *a* <b> | `c`"), r"two_hop \*a\* \<b\> \| \`c\`");
        assert_eq!(plain("_a_\nb"), r"\_a\_ b");
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let made = Table::pairs(["a", "b"], vec![("x", Cell::code("p|q")), ("y", Cell::text("r|s"))]);
        assert_eq!(table(&made), "| a | b |\n| --- | --- |\n| x | `p\\|q` |\n| y | r\\|s |");
    }
}
