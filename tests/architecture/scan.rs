//! What does a source file say once comments, strings and tests are put aside?

/// A source file, as it is and as the rules see it.
pub(crate) struct Source {
    /// Its path below `src`, with `/`.
    pub(crate) name: String,
    /// As written.
    pub(crate) text: String,
    /// Comments, strings and character literals blanked; every line and column where it was.
    pub(crate) code: String,
    /// The same without `#[cfg(test)]` items; empty for a file of tests.
    pub(crate) shipped: String,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let code = without_words(text);
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        let shipped = if is_test { String::new() } else { without_tests(&code) };
        Self { name: name.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// The module the file is: `train.rs` and `train/step.rs` are of `train`.
    pub(crate) fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super::` lead from the file to the crate's root.
    pub(crate) fn depth(&self) -> usize {
        match self.name.as_str() {
            "lib.rs" | "main.rs" => 0,
            name => name.split('/').filter(|part| *part != "mod.rs").count(),
        }
    }
}

/// The line, from 1, of a byte of `code`.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Where `word` stands as a whole word; `word` may hold `::` and end with `!`.
pub(crate) fn places(code: &str, word: &str) -> Vec<usize> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let stands_alone = |at: &usize| {
        let end = at + word.len();
        let opens = !word.ends_with(['!', ':', '(']);
        !(is_part(code[..*at].chars().next_back()) || opens && is_part(code[end..].chars().next()))
    };
    code.match_indices(word).map(|(at, _)| at).filter(stands_alone).collect()
}

/// Blanks comments, strings and character literals.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let n = word_length(bytes, at);
        for byte in &mut out[at..at + n] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += n.max(1);
    }
    String::from_utf8(out).unwrap()
}

/// Bytes of the comment or literal that starts at `at`; 0 where there is none.
fn word_length(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let before = at.checked_sub(1).map_or(b' ', |i| bytes[i]);
    let starts_word = !(before.is_ascii_alphanumeric() || before == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'b', b'r', b'"' | b'#', ..] if starts_word => raw_string(rest, 2),
        [b'r', b'"' | b'#', ..] if starts_word => raw_string(rest, 1),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        // A lifetime has no quote after its first character.
        [b'\'', first, ..] => {
            let n = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            if rest.get(1 + n) == Some(&b'\'') { n + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// A raw string whose `r` is `start` bytes before its hashes; 0 for a raw identifier.
fn raw_string(rest: &[u8], start: usize) -> usize {
    let hashes = rest[start..].iter().take_while(|b| **b == b'#').count();
    if rest.get(start + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = start + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|w| w == end);
    found.map_or(rest.len(), |n| body + n + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Blanks each item under `#[cfg(test)]`, up to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    for (at, _) in code.match_indices(MARK) {
        let mut depth = 0;
        let mut end = code.len();
        for (i, byte) in code.bytes().enumerate().skip(at + MARK.len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b';' if depth == 0 => depth = 0,
                _ => continue,
            }
            if depth == 0 {
                end = i + 1;
                break;
            }
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(out).unwrap()
}

/// Top-level modules of the crate that the shipped code names, with their lines: after `crate::`,
/// after as many `super::` as lead to the root, and in groups of either.
pub(crate) fn modules_named(source: &Source) -> Vec<(usize, String)> {
    let code = source.shipped.as_str();
    let mut named = Vec::new();
    for at in places(code, "crate::") {
        named.extend(heads(code, at + "crate::".len()));
    }
    // main.rs reaches the library by the crate's name.
    for at in places(code, "lorascope::") {
        named.extend(heads(code, at + "lorascope::".len()));
    }
    let to_root = "super::".repeat(source.depth());
    if !to_root.is_empty() {
        for at in places(code, &to_root) {
            let in_chain = code[..at].ends_with("super::");
            let goes_on = code[at + to_root.len()..].starts_with("super::");
            if !in_chain && !goes_on {
                named.extend(heads(code, at + to_root.len()));
            }
        }
    }
    named.sort();
    named.dedup();
    named
}

/// The first name of a path that starts at `at`, or of each path of a group there.
fn heads(code: &str, at: usize) -> Vec<(usize, String)> {
    let name_at = |at: usize| {
        let at = at + code[at..].len() - code[at..].trim_start().len();
        let rest = &code[at..];
        let n = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (n > 0).then(|| (line_of(code, at), rest[..n].to_owned()))
    };
    if !code[at..].starts_with('{') {
        return name_at(at).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut depth = 0;
    for (i, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (byte == b'{' || byte == b',') {
            found.extend(name_at(i + 1));
        }
    }
    found
}
