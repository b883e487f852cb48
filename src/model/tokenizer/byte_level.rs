//! How does byte-level BPE write a byte as a printable character?

use std::sync::LazyLock;

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 on.
static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut stand_ins = (0x100u32..).filter_map(char::from_u32);
    std::array::from_fn(|i| match u8::try_from(i) {
        Ok(byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)) => char::from(byte),
        _ => stand_ins.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    })
});

/// The byte that `character` stands for.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let plain =
        u8::try_from(u32::from(character)).ok().filter(|byte| ALPHABET[usize::from(*byte)] == character);
    plain.or_else(|| ALPHABET.iter().position(|c| *c == character).and_then(|i| u8::try_from(i).ok()))
}

/// Whether every character of `token` stands for a byte.
pub(super) fn is_spelled(token: &str) -> bool {
    token.chars().all(|c| byte_of(c).is_some())
}

/// `text` written in the alphabet.
pub(super) fn spell(text: &str) -> String {
    text.bytes().map(|byte| ALPHABET[usize::from(byte)]).collect()
}

/// The bytes of `token`; those of the token itself when it is not written in the alphabet.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    token.chars().map(byte_of).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let mut all: Vec<char> = ALPHABET.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 256);
        for byte in 0..=255u8 {
            assert_eq!(byte_of(ALPHABET[usize::from(byte)]), Some(byte));
        }
    }

    #[test]
    fn space_and_newline_are_written_as_gpt_2_does() {
        assert_eq!(spell(" a\n\u{e9}"), "\u{120}a\u{10a}\u{c3}\u{a9}");
        assert_eq!(bytes_of("\u{120}a\u{10a}"), b" a\n");
        assert_eq!(bytes_of("日"), "日".as_bytes());
    }
}
