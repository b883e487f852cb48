//! How is a Jinja template rendered as transformers renders it?
//!
//! Blocks are trimmed, Python's methods on strings, lists and maps are there, and so are
//! `raise_exception`, `strftime_now` and a `tojson` that does not escape for HTML.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};

use super::{GenerationPrompt, Message, json, time};

const NAME: &str = "chat";

/// A template that has been understood, and the special tokens it may name.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    environment: Environment<'static>,
    special: Vec<(String, String)>,
}

impl Engine {
    pub(super) fn new(source: &str, special: Vec<(String, String)>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| {
            // As Python writes them.
            let written = match value.kind() {
                minijinja::value::ValueKind::Bool if value.is_true() => Value::from("True"),
                minijinja::value::ValueKind::Bool => Value::from("False"),
                minijinja::value::ValueKind::None => Value::from("None"),
                _ => return minijinja::escape_formatter(out, state, value),
            };
            minijinja::escape_formatter(out, state, &written)
        });
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| time::format_now(&format));
        environment.add_filter("tojson", |value: Value, options: Kwargs| -> Result<Value, Error> {
            let indent: Option<usize> = options.get("indent")?;
            Ok(Value::from_safe_string(json::to_json(&value, indent)?))
        });
        // `{% generation %}` only marks what a trainer should learn from.
        environment.add_template_owned(NAME, without_generation_marks(source))?;
        Ok(Self { environment, special })
    }

    pub(super) fn render(&self, messages: &[Message], generation: GenerationPrompt) -> Result<String, Error> {
        let turns: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.name(), content => message.content.as_str() })
            .collect();
        let special = Value::from_pairs(self.special.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let variables = context! {
            messages => turns,
            add_generation_prompt => generation == GenerationPrompt::Add,
            tools => (),
            documents => (),
            ..special
        };
        self.environment.get_template(NAME)?.render(variables)
    }
}

/// The template without `{% generation %}` and `{% endgeneration %}`, white-space control kept.
fn without_generation_marks(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (block, end) = (&rest[start..start + length + 2], start + length + 2);
        let word =
            block.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']).trim();
        kept.push_str(&rest[..start]);
        if word == "generation" || word == "endgeneration" {
            // An empty statement with the same white-space control.
            kept.push_str(&block.replacen(word, "set _generation = none", 1));
        } else {
            kept.push_str(block);
        }
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// What went wrong, in one line.
pub(super) fn reason(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> String {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        let engine = Engine::new(source, special).unwrap();
        engine.render(&[Message::user(" <b>é\"\n ")], GenerationPrompt::Add).unwrap()
    }

    #[test]
    fn blocks_are_trimmed_and_python_methods_work() {
        assert_eq!(render("{{ bos_token }}\n  {% if true %}\nx\n  {% endif %}\ny"), "<s>\nx\ny");
        assert_eq!(render("{{ messages[0]['content'].strip().replace('b', 'i') }}"), "<i>é\"");
        assert_eq!(render("{{ messages[0].content | trim | length }}"), "5");
        assert_eq!(render("{% for m in messages[::-1] %}{{ loop.first }}{% endfor %}"), "True");
        assert_eq!(render("{% if tools is none and documents is none %}none{% endif %}"), "none");
        assert_eq!(
            render("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}x{% endfor %}"),
            ""
        );
    }

    #[test]
    fn tojson_writes_what_python_writes() {
        assert_eq!(
            render("{{ {'a': [1, 2.5, true, none], 'b': messages[0].content} | tojson }}"),
            r#"{"a": [1, 2.5, true, null], "b": " <b>é\"\n "}"#
        );
        assert_eq!(
            render("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"
        );
    }

    #[test]
    fn generation_marks_vanish_with_their_white_space() {
        assert_eq!(render("a\n{%- generation %}\nb{% endgeneration -%}\n c"), "abc");
    }
}
