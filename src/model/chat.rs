//! How is a conversation written so that the model knows who speaks?
//!
//! Each chat model brings its own Jinja template; [`ChatTemplate`] renders it as transformers does. A
//! model without one gets a plain question-and-answer form, named as such.

mod engine;
mod json;
mod time;

pub(crate) use time::date;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::model::config::{ModelConfig, read_json};
use crate::model::gguf::Gguf;
use crate::model::tokenizer::Tokenizer;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

/// Whether the rendered conversation ends by giving the model the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// It does: what the model writes next is its turn.
    Add,
    /// It does not: the conversation as it stands.
    Omit,
}

/// The form a model expects conversations in.
#[derive(Debug, Clone)]
pub struct ChatTemplate(Form);

#[derive(Debug, Clone)]
enum Form {
    /// The model's own.
    Jinja(Box<engine::Engine>),
    /// For models that bring none.
    QuestionAnswer,
}

impl ChatTemplate {
    /// The template in a GGUF file's `tokenizer.chat_template`, or the plain form.
    ///
    /// # Errors
    /// When there is a template and it cannot be understood.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let Some(source) = gguf.text("tokenizer.chat_template") else { return Ok(Self::question_answer()) };
        Self::jinja(source, special_tokens(gguf), &gguf.path)
    }

    /// The template of a Hugging Face folder (`chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json`), or the plain form.
    ///
    /// # Errors
    /// When a file cannot be read, or there is a template and it cannot be understood.
    pub fn from_hugging_face(folder: &Path) -> Result<Self> {
        let (own, config) = (folder.join("chat_template.jinja"), folder.join("tokenizer_config.json"));
        let config: Json = if config.is_file() { read_json(&config)? } else { Json::Null };
        let source = if own.is_file() {
            Some(std::fs::read_to_string(&own).map_err(Error::io("read", &own))?)
        } else {
            default_template(&config["chat_template"])
        };
        let Some(source) = source else { return Ok(Self::question_answer()) };
        let special = ["bos_token", "eos_token", "unk_token", "pad_token"]
            .into_iter()
            .filter_map(|name| {
                let token = config[name].as_str().or(config[name]["content"].as_str())?;
                Some((name.to_owned(), token.to_owned()))
            })
            .collect();
        Self::jinja(&source, special, folder)
    }

    /// The plain form: `Question: ...`, `Answer: ...`, one blank line between turns.
    pub fn question_answer() -> Self {
        Self(Form::QuestionAnswer)
    }

    fn jinja(source: &str, special: Vec<(String, String)>, path: &Path) -> Result<Self> {
        let engine = engine::Engine::new(source, special).map_err(|e| {
            let what = format!("the chat template cannot be understood: {}", engine::reason(&e));
            Error::file(path, what, "get the model again")
        })?;
        Ok(Self(Form::Jinja(Box::new(engine))))
    }

    /// What the form is, for people: the model's own template, or the plain form.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Form::Jinja(_) => "the model's own chat template",
            Form::QuestionAnswer => "plain Question/Answer form (the model brings no chat template)",
        }
    }

    /// The conversation as text, control tokens written out.
    ///
    /// # Errors
    /// When the template refuses the conversation (two turns of the user in a row, a system turn that the
    /// model does not know, ...).
    pub fn render(&self, messages: &[Message], generation: GenerationPrompt) -> Result<String> {
        match &self.0 {
            Form::Jinja(engine) => engine.render(messages, generation).map_err(|e| {
                let what =
                    format!("the model's chat template refuses this conversation: {}", engine::reason(&e));
                Error::refused(what, "change the turns, or use another model")
            }),
            Form::QuestionAnswer => Ok(question_answer(messages, generation)),
        }
    }

    /// The conversation as token ids: those of [`ChatTemplate::render`], but control tokens that stand
    /// in what somebody *said* stay ordinary text.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        generation: GenerationPrompt,
    ) -> Result<Vec<u32>> {
        let said = |token: &&String| messages.iter().any(|message| message.content.contains(token.as_str()));
        let forged: Vec<&String> = tokenizer.special_tokens().iter().filter(said).collect();
        if forged.is_empty() {
            return tokenizer.encode(&self.render(messages, generation)?);
        }
        // Characters of a private plane stand in while the template is rendered.
        let stand_ins: Vec<char> = (0x000F_A000u32..).filter_map(char::from_u32).take(forged.len()).collect();
        let mut disguised = messages.to_vec();
        for message in &mut disguised {
            for (token, stand_in) in forged.iter().zip(&stand_ins) {
                message.content = message.content.replace(token.as_str(), &stand_in.to_string());
            }
        }
        let rendered = self.render(&disguised, generation)?;
        let mut ids = Vec::new();
        for piece in rendered.split_inclusive(stand_ins.as_slice()) {
            let last = piece.chars().next_back();
            match last.and_then(|c| stand_ins.iter().position(|stand_in| *stand_in == c)) {
                Some(i) => {
                    ids.extend(tokenizer.encode(piece.trim_end_matches(stand_ins[i]))?);
                    ids.extend(tokenizer.encode_plain(forged[i])?);
                }
                None => ids.extend(tokenizer.encode(piece)?),
            }
        }
        Ok(ids)
    }
}

/// The special tokens that a GGUF file names, as `tokenizer_config.json` and templates call them:
/// `bos_token` and its kin.
pub(super) fn special_tokens(gguf: &Gguf) -> Vec<(String, String)> {
    let tokens = gguf.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let named = |name: &str| {
        let id = gguf.int(&format!("tokenizer.ggml.{name}_token_id"))?;
        tokens.get(id).cloned()
    };
    ["bos", "eos", "unknown", "padding"]
        .into_iter()
        .zip(["bos_token", "eos_token", "unk_token", "pad_token"])
        .filter_map(|(name, variable)| Some((variable.to_owned(), named(name)?)))
        .collect()
}

/// `chat_template` is one text, or a list of named ones.
fn default_template(value: &Json) -> Option<String> {
    match value {
        Json::String(source) => Some(source.clone()),
        Json::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default").or(named.first())?;
            Some(default["template"].as_str()?.to_owned())
        }
        _ => None,
    }
}

fn question_answer(messages: &[Message], generation: GenerationPrompt) -> String {
    let mut turns: Vec<String> = messages
        .iter()
        .map(|message| match message.role {
            Role::System => message.content.clone(),
            Role::User => format!("Question: {}", message.content),
            Role::Assistant => format!("Answer: {}", message.content),
        })
        .collect();
    if generation == GenerationPrompt::Add {
        match (messages.last().map(|message| message.role), turns.last_mut()) {
            (Some(Role::User), Some(last)) => last.push_str("\nAnswer:"),
            _ => turns.push("Answer:".to_owned()),
        }
    }
    turns.join("\n\n").replace("\n\nAnswer: ", "\nAnswer: ")
}

/// Tokens that end a turn or a text in one family or another.
const ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "</s>",
];

/// Every token at which an answer ends: those the configuration names, and the ends of a turn or a text
/// that the vocabulary knows as control tokens.
pub fn stop_tokens(config: &ModelConfig, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut all = config.stop_tokens.clone();
    all.extend(config.eos_token);
    let known = tokenizer.special_tokens();
    all.extend(
        ENDS.iter().filter(|end| known.iter().any(|k| k == *end)).filter_map(|end| tokenizer.token_id(end)),
    );
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|id| seen.insert(*id));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form_pairs_questions_with_answers() {
        let form = ChatTemplate::question_answer();
        let talk = [Message::user("Who?"), Message::assistant("Ada."), Message::user("When?")];
        let text = form.render(&talk, GenerationPrompt::Add).unwrap();
        assert_eq!(text, "Question: Who?\nAnswer: Ada.\n\nQuestion: When?\nAnswer:");
        assert!(form.name().contains("Question/Answer"));
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let source =
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}";
        let form = ChatTemplate::jinja(source, Vec::new(), Path::new("m")).unwrap();
        let error = form.render(&[Message::new(Role::System, "x")], GenerationPrompt::Omit).unwrap_err();
        assert!(error.to_string().contains("no system turns"), "{error}");
    }

    #[test]
    fn a_broken_template_is_refused_when_it_is_read() {
        let error = ChatTemplate::jinja("{% if %}", Vec::new(), Path::new("m.gguf")).unwrap_err().to_string();
        assert!(error.contains("m.gguf") && error.contains("chat template"), "{error}");
    }
}
