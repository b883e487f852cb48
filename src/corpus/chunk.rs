//! Into which pieces is a document cut?
//!
//! Pieces of a bounded number of tokens, along headings, paragraphs and sentences, each with the
//! headings above it. A heading never stands alone, and a short tail joins its neighbour.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use super::headings::{Heading, headings, path_at};
use super::{Document, Format, sentences};

/// How documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// Tokens in a chunk at most, headings above it not counted.
    pub max_tokens: usize,
}

impl Default for Chunking {
    /// A short section as a whole, since a small model reads a short passage better. Of 60 questions about the
    /// sample corpus in trained wordings, a model of 135M parameters answered 82 % right from one passage of
    /// 64 tokens, 88 % of 96, 85 % of 128.
    fn default() -> Self {
        Self { max_tokens: 96 }
    }
}

impl Chunking {
    /// Chunks of so many tokens, or as many as usual.
    pub fn of(max_tokens: Option<usize>) -> Self {
        max_tokens.map_or_else(Self::default, |max_tokens| Self { max_tokens })
    }
}

/// A token-bounded piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The document's id.
    pub document: String,
    /// The headings above it, outermost first, joined by " > "; for a document without headings,
    /// the words of its file name.
    pub heading: String,
    /// The text, as it stands in the document.
    pub text: String,
    /// Its bytes in the document.
    pub range: Range<usize>,
}

impl Chunk {
    /// What is searched and embedded: the headings, then the text.
    pub fn searchable(&self) -> String {
        format!("{}\n{}", self.heading, self.text)
    }

    /// The bytes of each sentence in [`Chunk::searchable`]; none where the chunk is one sentence.
    pub fn sentences(&self) -> Vec<Range<usize>> {
        let start = self.heading.len() + 1;
        let found = sentences(&self.text);
        if found.len() < 2 {
            return Vec::new();
        }
        found.into_iter().map(|range| start + range.start..start + range.end).collect()
    }
}

/// Chunks shorter than this share of the bound are joined to a neighbour where they fit.
const TINY: f64 = 0.25;

struct Sizer<'a>(&'a dyn Fn(&str) -> usize);

impl ChunkSizer for Sizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        (self.0)(chunk)
    }
}

/// Cuts a document. `count_tokens` gives the number of tokens of a text.
pub fn chunk_document(
    document: &Document,
    chunking: Chunking,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<Chunk> {
    let text = &document.text;
    let cutter =
        Cutter { text, format: document.format, max: chunking.max_tokens.max(1), count: count_tokens };
    let headings = if document.format == Format::Markdown { headings(text) } else { Vec::new() };
    let spans: Vec<_> = cutter
        .cut(0..text.len(), cutter.max)
        .into_iter()
        .filter_map(|span| without_headings(text, span, &headings))
        .collect();
    let spans = cutter.join_tails(spans, &headings);
    let chunk = |range: Range<usize>| {
        let heading = path_at(&headings, range.start);
        let heading = if heading.is_empty() { name_in_words(&document.id) } else { heading };
        Chunk { document: document.id.clone(), heading, text: text[range.clone()].to_owned(), range }
    };
    spans.into_iter().map(chunk).collect()
}

/// `notes/tide-table_2` reads "tide table 2".
fn name_in_words(id: &str) -> String {
    let name = id.rsplit('/').next().unwrap_or(id);
    name.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

struct Cutter<'a> {
    text: &'a str,
    format: Format,
    max: usize,
    count: &'a dyn Fn(&str) -> usize,
}

impl Cutter<'_> {
    fn size(&self, span: Range<usize>) -> usize {
        (self.count)(&self.text[span])
    }

    fn is_tiny(&self, span: &Range<usize>) -> bool {
        (self.size(span.clone()) as f64) < self.max as f64 * TINY
    }

    /// Spans of at most `max` tokens, in order, within `whole`.
    fn cut(&self, whole: Range<usize>, max: usize) -> Vec<Range<usize>> {
        let config = ChunkConfig::new(max).with_sizer(Sizer(self.count));
        let base = whole.start;
        let span = |(start, chunk): (usize, &str)| base + start..base + start + chunk.len();
        let text = &self.text[whole];
        match self.format {
            Format::Markdown => MarkdownSplitter::new(config).chunk_indices(text).map(span).collect(),
            Format::Text => TextSplitter::new(config).chunk_indices(text).map(span).collect(),
        }
    }

    /// Joins each tiny span to a neighbour where both fit the bound together, that of the same
    /// section first; where they don't, a section's last two spans are cut anew in the middle.
    fn join_tails(&self, mut spans: Vec<Range<usize>>, headings: &[Heading]) -> Vec<Range<usize>> {
        let mut at = 0;
        while at < spans.len() {
            if !self.is_tiny(&spans[at]) {
                at += 1;
                continue;
            }
            let same =
                |a: usize, b: usize| path_at(headings, spans[a].start) == path_at(headings, spans[b].start);
            let before = at.checked_sub(1);
            let after = Some(at + 1).filter(|&after| after < spans.len());
            let own = [before.filter(|&i| same(i, at)), after.filter(|&i| same(at, i))];
            let neighbours = own.into_iter().chain([before, after]).flatten();
            let fitting = neighbours
                .map(|i| (i.min(at), i.max(at)))
                .find(|&(first, last)| self.size(spans[first].start..spans[last].end) <= self.max);
            if let Some((first, last)) = fitting {
                spans[first].end = spans[last].end;
                spans.remove(last);
                at = first;
                continue;
            }
            if let Some(halves) = own[0].and_then(|first| self.halved(spans[first].start..spans[at].end)) {
                spans.splice(at - 1..=at, halves);
            }
            at += 1;
        }
        spans
    }

    /// Two spans of about the same size, if the text has a seam near its middle.
    fn halved(&self, whole: Range<usize>) -> Option<[Range<usize>; 2]> {
        let size = self.size(whole.clone());
        let halves = self.cut(whole, (size / 2 + size / 8).min(self.max));
        let halves: [Range<usize>; 2] = halves.try_into().ok()?;
        halves.iter().all(|half| !self.is_tiny(half)).then_some(halves)
    }
}

/// The span without headings and white space at either end; `None` if nothing else is in it.
fn without_headings(text: &str, span: Range<usize>, headings: &[Heading]) -> Option<Range<usize>> {
    let Range { mut start, mut end } = span;
    for heading in headings {
        start += leading_space(&text[start..end]);
        if heading.range.contains(&start) {
            start = heading.range.end.min(end);
        }
    }
    for heading in headings.iter().rev() {
        end = start + text[start..end].trim_end().len();
        if end > heading.range.start && end <= heading.range.end && heading.range.start >= start {
            end = heading.range.start;
        }
    }
    let content = &text[start..end];
    // A line's own indentation is kept: it can mean code.
    let blank_lines = leading_space(content);
    let start = start + content[..blank_lines].rfind('\n').map_or(0, |newline| newline + 1);
    let end = start + text[start..end].trim_end().len();
    (!text[start..end].trim().is_empty()).then_some(start..end)
}

fn leading_space(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn cut(format: Format, max_tokens: usize, text: &str) -> Vec<Chunk> {
        let document = Document::new("people/ada-finch", "", format, text);
        chunk_document(&document, Chunking { max_tokens }, &words)
    }

    fn sentences(n: usize) -> String {
        let sentence = |i| format!("Sentence number {i} has six words. ");
        (0..n).map(sentence).collect::<Vec<_>>().concat()
    }

    const PERSON: &str = "# Ada Finch\n\nAda Finch keeps the lighthouse.\n\n## Early life\n\nShe was born in Cinder \
                          Bay. Her father built boats there.\n\n## Work\n\n### Tools\n\nShe owns a brass sextant and \
                          a long rope.\n";

    #[test]
    fn chunks_carry_their_headings_and_their_place() {
        let chunks = cut(Format::Markdown, 12, PERSON);
        let headings: Vec<_> = chunks.iter().map(|chunk| chunk.heading.as_str()).collect();
        assert_eq!(headings, ["Ada Finch", "Ada Finch > Early life", "Ada Finch > Work > Tools"]);
        for chunk in &chunks {
            assert_eq!(chunk.text, PERSON[chunk.range.clone()]);
            assert!(!chunk.text.starts_with('#'), "{}", chunk.text);
        }
    }

    #[test]
    fn a_whole_document_that_fits_is_one_chunk_under_its_title() {
        let chunks = cut(Format::Markdown, 200, PERSON);
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].heading, "Ada Finch");
        assert!(chunks[0].text.starts_with("Ada Finch keeps") && chunks[0].text.ends_with("rope."));
    }

    #[test]
    fn no_chunk_is_a_bare_heading_or_over_the_bound() {
        let text =
            format!("# T\n\n## A\n\n## B\n\n{}\n\n## C\n\n## D\n\n{}\n\n## E\n", sentences(9), sentences(3));
        for max in [3, 6, 7, 13, 20, 30, 64] {
            let chunks = cut(Format::Markdown, max, &text);
            assert!(!chunks.is_empty());
            for chunk in &chunks {
                assert!(words(&chunk.text) <= max, "{max}: {}", chunk.text);
                let bare = chunk.text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
                assert!(!bare, "{max}: {}", chunk.text);
            }
        }
    }

    #[test]
    fn every_word_outside_headings_is_in_exactly_one_chunk() {
        let text = format!("# T\n\n{}\n\n## A\n\n- one\n- two\n\n{}\n", sentences(8), sentences(5));
        for max in [5, 11, 18, 40] {
            let found: usize = cut(Format::Markdown, max, &text)
                .iter()
                .flat_map(|chunk| {
                    chunk.text.lines().filter(|line| !line.starts_with('#')).map(words).collect::<Vec<_>>()
                })
                .sum();
            let expected: usize = text.lines().filter(|line| !line.starts_with('#')).map(words).sum();
            assert_eq!(found, expected, "{max}");
        }
    }

    #[test]
    fn sentences_stay_whole_where_they_fit() {
        for chunk in cut(Format::Text, 20, &sentences(12)) {
            assert!(chunk.text.starts_with("Sentence") && chunk.text.ends_with('.'), "{}", chunk.text);
        }
    }

    #[test]
    fn a_short_tail_is_evened_out() {
        let chunks = cut(Format::Markdown, 30, &format!("# T\n\n{}", sentences(6)));
        let sizes: Vec<_> = chunks.iter().map(|chunk| words(&chunk.text)).collect();
        assert_eq!(sizes, [18, 18], "not 30 and 6");
    }

    #[test]
    fn a_text_without_headings_is_known_by_its_name() {
        assert_eq!(cut(Format::Text, 50, "She keeps bees.")[0].heading, "ada finch");
        assert_eq!(cut(Format::Text, 50, "# not a heading")[0].text, "# not a heading");
    }

    #[test]
    fn odd_texts_do_no_harm() {
        for text in [
            "",
            "# only",
            "\n\n \n",
            "#",
            "🦀🦀🦀",
            "# a\n# b\n# c",
            "```\n# x\n```",
            "a\r\n\r\n# b\r\n\r\nc\r\n",
        ] {
            for max in [1, 2, 50] {
                for chunk in cut(Format::Markdown, max, text) {
                    assert!(!chunk.text.trim().is_empty(), "{text:?}");
                }
            }
        }
    }
}
