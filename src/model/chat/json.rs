//! How does Python's `json.dumps` write a value? Chat templates were written against it.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// `value` as JSON: ", " and ": " between things, or one thing a line when there is an indent.
pub(super) fn to_json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut out = String::new();
    write(value, indent, 0, &mut out)?;
    Ok(out)
}

fn write(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => out.push_str(&quoted(value.as_str().unwrap_or_default())?),
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                let mut item = format!("{}: ", quoted(&key.to_string())?);
                write(&value.get_item(&key)?, indent, depth + 1, &mut item)?;
                items.push(item);
            }
            wrap(&items, ('{', '}'), indent.map(|n| (n, depth)), out);
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for element in value.try_iter()? {
                let mut item = String::new();
                write(&element, indent, depth + 1, &mut item)?;
                items.push(item);
            }
            wrap(&items, ('[', ']'), indent.map(|n| (n, depth)), out);
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("a {kind} cannot be written as JSON"),
            ));
        }
    }
    Ok(())
}

fn wrap(items: &[String], (open, close): (char, char), lines: Option<(usize, usize)>, out: &mut String) {
    out.push(open);
    match lines {
        Some((indent, depth)) if !items.is_empty() => {
            let margin = " ".repeat(indent * (depth + 1));
            for (i, item) in items.iter().enumerate() {
                out.extend([if i == 0 { "\n" } else { ",\n" }, &margin, item]);
            }
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
        Some(_) => {}
        None => out.push_str(&items.join(", ")),
    }
    out.push(close);
}

fn quoted(text: &str) -> Result<String, Error> {
    serde_json::to_string(text).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}
