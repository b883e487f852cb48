//! Where are a Markdown text's headings?

use std::ops::Range;

/// One heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading {
    /// 1 to 6.
    pub(super) level: usize,
    /// Its words, without marks.
    pub(super) title: String,
    /// Its bytes in the text, the line end included.
    pub(super) range: Range<usize>,
}

/// All headings outside code fences and front matter: `# Title`, or a line underlined by `===` or
/// `---`.
pub(super) fn headings(text: &str) -> Vec<Heading> {
    let mut found: Vec<Heading> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut above = Above::Blank;
    let mut start = front_matter_end(text);
    for line in text[start..].split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let content = unindented(line);
        if let Some(mark) = fence {
            if content.is_some_and(|content| closes(content, mark)) {
                fence = None;
            }
            above = Above::Other;
            continue;
        }
        fence = content.and_then(fence_mark);
        if let Some((level, title)) = content.and_then(hash_heading) {
            found.push(Heading { level, title, range });
            above = Above::Other;
        } else if let (Some(level), Above::Single(title, begun)) = (content.and_then(underline), &above) {
            found.push(Heading { level, title: (*title).to_owned(), range: *begun..range.end });
            above = Above::Other;
        } else {
            above = match content {
                _ if line.trim().is_empty() => Above::Blank,
                Some(content) if above == Above::Blank && is_prose(content) => {
                    Above::Single(content.trim(), range.start)
                }
                _ => Above::Other,
            };
        }
    }
    found
}

/// The titles of the headings above byte `at`, outermost first, joined by " > ".
pub(super) fn path_at(headings: &[Heading], at: usize) -> String {
    let mut path: Vec<&Heading> = Vec::new();
    for heading in headings.iter().take_while(|heading| heading.range.end <= at) {
        path.retain(|above| above.level < heading.level);
        path.push(heading);
    }
    let titles = path.iter().map(|heading| heading.title.as_str()).filter(|title| !title.is_empty());
    titles.collect::<Vec<_>>().join(" > ")
}

/// What stands above a line.
#[derive(PartialEq)]
enum Above<'a> {
    /// Nothing.
    Blank,
    /// The first line of a paragraph, and where it begins: a heading if this line underlines it.
    Single(&'a str, usize),
    /// Anything else.
    Other,
}

/// The byte after a `---` ... `---` block at the very start; 0 without one.
fn front_matter_end(text: &str) -> usize {
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return 0 };
    let mut end = first.len();
    for line in lines {
        end += line.len();
        if line.trim_end() == "---" {
            return end;
        }
    }
    0
}

/// The line without up to three spaces before it; `None` for deeper ones, which are code.
fn unindented(line: &str) -> Option<&str> {
    let content = line.trim_start_matches(' ');
    (line.len() - content.len() <= 3 && !content.starts_with('\t')).then_some(content.trim_end())
}

fn fence_mark(content: &str) -> Option<&str> {
    let first = content.chars().next().filter(|&c| c == '`' || c == '~')?;
    let mark = &content[..content.len() - content.trim_start_matches(first).len()];
    (mark.len() >= 3 && !(first == '`' && content[mark.len()..].contains('`'))).then_some(mark)
}

fn closes(content: &str, mark: &str) -> bool {
    content.starts_with(mark) && content.trim_start_matches(&mark[..1]).is_empty()
}

fn hash_heading(content: &str) -> Option<(usize, String)> {
    let rest = content.trim_start_matches('#');
    let level = content.len() - rest.len();
    if !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let title = rest.trim();
    let bare = title.trim_end_matches('#');
    let title = if bare.is_empty() || bare.ends_with([' ', '\t']) { bare } else { title };
    Some((level, unmarked(title)))
}

fn underline(content: &str) -> Option<usize> {
    match content.trim_end() {
        "" => None,
        marks if marks.bytes().all(|byte| byte == b'=') => Some(1),
        marks if marks.bytes().all(|byte| byte == b'-') => Some(2),
        _ => None,
    }
}

/// Whether a line can be a heading once it is underlined: not a list, a quote or a table.
fn is_prose(content: &str) -> bool {
    let numbered = content.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_list =
        content.starts_with(['-', '*', '+']) || (numbered.len() < content.len() && numbered.starts_with('.'));
    !is_list && !content.starts_with(['>', '|', '`', '~'])
}

fn unmarked(title: &str) -> String {
    title.trim().trim_matches(['*', '_', '`']).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<(usize, String)> {
        headings(text).into_iter().map(|heading| (heading.level, heading.title)).collect()
    }

    #[test]
    fn both_kinds_of_heading_are_seen() {
        let text = "# One #\n\ntext\n\nTwo\n---\n\nThree\n=====\n### **Four**\n#no\n";
        let expected = [(1, "One"), (2, "Two"), (1, "Three"), (3, "Four")];
        assert_eq!(titles(text), expected.map(|(level, title)| (level, title.to_owned())));
    }

    #[test]
    fn fences_front_matter_lists_and_rules_are_no_headings() {
        assert_eq!(titles("---\ntitle: x\n---\n\n# Real\n"), [(1, "Real".to_owned())]);
        assert_eq!(titles("```sh\n# comment\n```\n"), []);
        assert_eq!(titles("~~~\n# comment\n```\n# more\n~~~\n# Real"), [(1, "Real".to_owned())]);
        assert_eq!(titles("- item\n---\n\ntwo\nlines\n---\n\n    # code\n"), []);
        assert_eq!(titles("---\nnever closed\n"), []);
    }

    #[test]
    fn the_path_holds_what_is_still_open() {
        let text = "# A\n\n## B\n\nb\n\n## C\n\nc\n\n# D\n\nd\n";
        let headings = headings(text);
        let at = |needle: &str| path_at(&headings, text.find(needle).unwrap());
        assert_eq!([at("b\n"), at("c\n"), at("d\n")], ["A > B", "A > C", "D"]);
        assert_eq!(path_at(&headings, 0), "");
    }

    #[test]
    fn ranges_cover_the_heading_with_its_underline() {
        let text = "x\n\nTwo\n---\nrest";
        assert_eq!(&text[headings(text)[0].range.clone()], "Two\n---\n");
    }
}
