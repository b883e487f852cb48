//! How is the page written in HTML, so that it needs nothing beside itself?
//!
//! The charts stand in the page, each in a wide and a narrow form, of which the style sheet shows one.
//! They are drawn in the colours of paper; the style sheet gives them those of the dark look.

use std::fmt::Write;

use super::page::{Block, Cell, Page, Square, Table};
use crate::app::Look;
use crate::error::Result;
use crate::plot::{Chart, Ink, Shape, svg};

const STYLE: &str = include_str!("../../assets/report.css");

/// The page.
///
/// # Errors
/// When a chart cannot be drawn.
pub(super) fn text(page: &Page) -> Result<String> {
    let mut body = format!(
        "<header>\n<h1>{}</h1>\n<p class=\"result\">{}</p>\n<p class=\"quiet\">{}</p>\n</header>\n",
        escaped(&page.title),
        escaped(&page.result),
        escaped(&page.about)
    );
    for section in &page.sections {
        let blocks = section.blocks.iter().map(written).collect::<Result<Vec<_>>>()?.concat();
        let _ = write!(body, "<section>\n<h2>{}</h2>\n{blocks}</section>\n", escaped(section.heading));
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(&page.title),
        colours()
    ))
}

/// The colours by name, in both looks, and the rules that give the charts the present ones.
fn colours() -> String {
    let variables = |look: Look| -> String {
        Ink::ALL.map(|ink| format!("--{}:{};", ink.name(), ink.hex(look))).concat()
    };
    let (light, dark) = (variables(Look::Light), variables(Look::Dark));
    let mut rules =
        format!(":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n");
    for ink in Ink::ALL {
        let (drawn, name) = (ink.hex(Look::Light), ink.name());
        let _ = writeln!(
            rules,
            "svg [fill=\"{drawn}\"]{{fill:var(--{name})}}svg [stroke=\"{drawn}\"]{{stroke:var(--{name})}}\
             .{name}::before{{background:var(--{name})}}.ink-{name}{{color:var(--{name})}}"
        );
    }
    rules
}

fn written(block: &Block) -> Result<String> {
    Ok(match block {
        Block::Text(text) => format!("<p>{}</p>\n", escaped(text)),
        Block::List(items) => {
            let item = |item: &String| format!("<li>{}</li>\n", escaped(item));
            format!("<ul>\n{}</ul>\n", items.iter().map(item).collect::<Vec<_>>().concat())
        }
        Block::Picture(_, chart) => figure(chart)?,
        Block::Table(table) => self::table(table),
        Block::Board(squares) => board(squares),
        Block::Code(code) => format!("<pre><code>{}</code></pre>\n", escaped(code)),
    })
}

fn figure(chart: &Chart) -> Result<String> {
    let (wide, narrow) = (svg(chart, Shape::Wide)?, svg(chart, Shape::Narrow)?);
    Ok(format!(
        "<figure>\n<div class=\"wide\">{wide}</div>\n<div class=\"narrow\">{narrow}</div>\n</figure>\n"
    ))
}

/// Each square says what it stands for where it is pointed at.
fn board(squares: &[Square]) -> String {
    let square = |square: &Square| {
        format!(
            "<i class=\"ink-{}\" title=\"{}\">{}</i>",
            square.ink.name(),
            escaped(&square.told),
            square.sign
        )
    };
    format!("<div class=\"board\">{}</div>\n", squares.iter().map(square).collect::<Vec<_>>().concat())
}

fn table(table: &Table) -> String {
    let class = |column: usize| if column < table.n_words { "" } else { " class=\"number\"" };
    let heading =
        |(i, name): (usize, &String)| format!("<th scope=\"col\"{}>{}</th>", class(i), escaped(name));
    let head = table.head.iter().enumerate().map(heading).collect::<Vec<_>>().concat();
    let row = |cells: &Vec<Cell>| {
        let cells = cells.iter().enumerate().map(|(i, cell)| format!("<td{}>{}</td>", class(i), inner(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<Vec<_>>().concat())
    };
    let rows = table.rows.iter().map(row).collect::<Vec<_>>().concat();
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}

fn inner(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    match (cell.is_code, cell.ink) {
        (true, _) => format!("<code>{text}</code>"),
        (_, Some(ink)) => format!("<span class=\"whose {}\">{text}</span>", ink.name()),
        _ => text,
    }
}

/// Text that means itself, between tags and in attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
