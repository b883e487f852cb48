//! How do ids that arrive one by one become text that never breaks a character?

use tokenizers::decoders::DecoderWrapper;

use super::{Tokenizer, byte_level};

/// How a vocabulary spells the bytes of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// One character a byte.
    ByteLevel,
    /// `▁` for a space and `<0x0A>` for a lone byte; some leave the text's first space out.
    SentencePiece {
        /// How many leading spaces the decoder drops.
        dropped_spaces: usize,
    },
    /// Whole characters, decoded token by token.
    Whole,
}

impl Spelling {
    /// That of a tokenizer, known by its decoder.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        match tokenizer.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => Self::ByteLevel,
            Some(DecoderWrapper::Sequence(steps)) => {
                let steps = steps.get_decoders();
                if steps.iter().any(|step| matches!(step, DecoderWrapper::ByteLevel(_))) {
                    return Self::ByteLevel;
                }
                let dropped_spaces = steps
                    .iter()
                    .map(|step| if let DecoderWrapper::Strip(strip) = step { strip.start } else { 0 })
                    .sum();
                if steps.iter().any(|step| matches!(step, DecoderWrapper::ByteFallback(_))) {
                    Self::SentencePiece { dropped_spaces }
                } else {
                    Self::Whole
                }
            }
            _ => Self::Whole,
        }
    }
}

/// Decodes ids as they come. What [`Detokenizer::push`] and [`Detokenizer::finish`] return, joined, is
/// what [`Tokenizer::decode`] makes of all the ids.
#[derive(Debug)]
pub struct Detokenizer<'a> {
    tokenizer: &'a Tokenizer,
    /// Bytes of a character that is not whole yet.
    pending: Vec<u8>,
    /// Leading spaces still to drop.
    to_drop: usize,
}

impl<'a> Detokenizer<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        let to_drop = match tokenizer.spelling {
            Spelling::SentencePiece { dropped_spaces } => dropped_spaces,
            Spelling::ByteLevel | Spelling::Whole => 0,
        };
        Self { tokenizer, pending: Vec::new(), to_drop }
    }

    /// The characters that `id` completes, if any. Bytes that can never become a character come out
    /// as U+FFFD at once.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let token = self.tokenizer.token(id)?;
        match self.tokenizer.spelling {
            Spelling::ByteLevel => self.pending.extend(byte_level::bytes_of(&token)),
            Spelling::SentencePiece { .. } => match lone_byte(&token) {
                Some(byte) => self.pending.push(byte),
                None => self.pending.extend(token.replace('\u{2581}', " ").into_bytes()),
            },
            Spelling::Whole => self.pending.extend(self.tokenizer.decode(&[id]).ok()?.into_bytes()),
        }
        let text = self.whole_characters();
        (!text.is_empty()).then_some(text)
    }

    /// What is left: the beginning of a character that never became whole, as U+FFFD.
    pub fn finish(mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }

    /// Takes everything out of `pending` but the beginning of a character at its end.
    fn whole_characters(&mut self) -> String {
        let mut taken = 0;
        loop {
            match std::str::from_utf8(&self.pending[taken..]) {
                Ok(_) => taken = self.pending.len(),
                Err(error) => {
                    taken += error.valid_up_to();
                    if let Some(n) = error.error_len() {
                        taken += n;
                        continue;
                    }
                }
            }
            break;
        }
        let rest = self.pending.split_off(taken);
        let bytes = std::mem::replace(&mut self.pending, rest);
        let text = String::from_utf8_lossy(&bytes);
        let kept = text.chars().take(self.to_drop).take_while(|c| *c == ' ').count();
        if !text.is_empty() {
            self.to_drop = 0;
        }
        text[kept..].to_owned()
    }
}

/// The byte that a token like `<0x0A>` stands for.
fn lone_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}
