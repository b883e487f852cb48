//! What does the model read beside the question?
//!
//! At 135M parameters the form decides: with the one right passage before the question it answers
//! 9 of 10 questions, with a second passage between them 3. So number, order and form belong to
//! the model and stand in its entry in `assets/models.toml`.

use serde::{Deserialize, Serialize};
use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};

use super::Passage;
use crate::error::{Error, Result};

/// How passages are put before a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptForm {
    /// Passages at most.
    pub max_passages: usize,
    /// Which stands where.
    pub order: Order,
    /// The words around them.
    pub form: Form,
    /// Sentences of the best passage's document that are nearest to the question, put once more between passages and
    /// question.
    pub n_sentences: usize,
}

impl Default for PromptForm {
    fn default() -> Self {
        Self { max_passages: 1, order: Order::BestLast, form: Form::TextThenQuestion, n_sentences: 0 }
    }
}

/// Where the best passage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Next to the question, which comes last.
    BestLast,
    /// At the top.
    BestFirst,
}

/// The words around passages and question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The passages, then "Based on the text above: " and the question.
    TextThenQuestion,
    /// "Use the context to answer the question.", the passages, the question.
    UseContext,
}

impl Form {
    fn fill(self, passages: &str, question: &str) -> String {
        match self {
            Self::TextThenQuestion => format!("{passages}\n\nBased on the text above: {question}"),
            Self::UseContext => {
                format!(
                    "Use the context to answer the question.\n\nContext:\n{passages}\n\nQuestion: {question}"
                )
            }
        }
    }
}

/// How much the user's turn may hold.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Tokens at most.
    pub n_tokens: usize,
    /// The model's own count of a text's tokens.
    pub count: &'a dyn Fn(&str) -> usize,
}

/// The user's turn, with passages in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RagPrompt {
    /// What the user says to the model.
    pub user_message: String,
    /// How many passages, from the best, are in it.
    pub n_used: usize,
}

/// A passage is not cut to fewer tokens than this.
const SHORTEST_PASSAGE: usize = 16;

/// Puts the best passages and the question into one turn. A passage that is too long for the
/// budget is cut at a sentence; without passages the turn is the question alone. The nearest sentences may be of any
/// passage of the best one's document: what the best one just misses is said beside it.
///
/// # Errors
/// [`Error::Refused`] for a question that leaves no room, with the numbers.
pub fn build_prompt(
    question: &str,
    passages: &[Passage],
    form: PromptForm,
    budget: Budget<'_>,
) -> Result<RagPrompt> {
    let question = question.trim();
    if question.is_empty() {
        return Err(Error::refused("the question is empty", "type a question"));
    }
    let shortest = if passages.is_empty() || form.max_passages == 0 { 0 } else { SHORTEST_PASSAGE };
    let n_question = (budget.count)(question);
    let n_bare = (budget.count)(&form.form.fill("", question));
    if n_bare + shortest > budget.n_tokens {
        let what = format!(
            "the question has {n_question} tokens and the model has room for {}",
            budget.n_tokens.saturating_sub(n_bare - n_question + shortest)
        );
        return Err(Error::refused(what, "ask a shorter question"));
    }
    let mut used: Vec<String> = Vec::new();
    let nearest = nearest_sentences(passages, form.n_sentences);
    for passage in passages.iter().take(form.max_passages) {
        used.push(shown(passage, &passage.text));
        if !fits(&used, question, form, budget) {
            used.pop();
            break;
        }
    }
    if let (true, Some(best)) = (used.is_empty() && shortest > 0, passages.first()) {
        used.extend(cut(best, question, form, budget));
    }
    let mut user_message = if used.is_empty() { question.to_owned() } else { filled(&used, question, form) };
    if !used.is_empty() && !nearest.is_empty() {
        let with = form.form.fill(&format!("{}\n\n{nearest}", joined(&used, form)), question);
        if (budget.count)(&with) <= budget.n_tokens {
            user_message = with;
        }
    }
    Ok(RagPrompt { user_message, n_used: used.len() })
}

/// The `n` sentences nearest to the question in the best passage's document, as far as it was found, in its order.
fn nearest_sentences(passages: &[Passage], n: usize) -> String {
    let Some(best) = passages.first() else { return String::new() };
    let of_document = passages.iter().filter(|passage| passage.document == best.document);
    let mut found: Vec<(f32, usize, &str)> = of_document
        .flat_map(|p| {
            p.sentences.iter().map(|s| (s.cosine, p.start + s.range.start, &p.text[s.range.clone()]))
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(n);
    found.sort_by_key(|(_, start, _)| *start);
    found.into_iter().map(|(.., text)| text).collect::<Vec<_>>().join(" ")
}

/// A passage as the model reads it: the headings above it name what its text is about.
fn shown(passage: &Passage, text: &str) -> String {
    if passage.heading.is_empty() { text.to_owned() } else { format!("{}\n{text}", passage.heading) }
}

fn filled(used: &[String], question: &str, form: PromptForm) -> String {
    form.form.fill(&joined(used, form), question)
}

fn joined(used: &[String], form: PromptForm) -> String {
    let mut used: Vec<&str> = used.iter().map(String::as_str).collect();
    if form.order == Order::BestLast {
        used.reverse();
    }
    used.join("\n\n")
}

fn fits(used: &[String], question: &str, form: PromptForm, budget: Budget<'_>) -> bool {
    (budget.count)(&filled(used, question, form)) <= budget.n_tokens
}

struct Sizer<'a>(&'a dyn Fn(&str) -> usize);

impl ChunkSizer for Sizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        (self.0)(chunk)
    }
}

/// A passage with the longest beginning of its text that fits, ending with a sentence where one
/// fits.
fn cut(passage: &Passage, question: &str, form: PromptForm, budget: Budget<'_>) -> Option<String> {
    let taken = (budget.count)(&filled(&[shown(passage, "")], question, form));
    let mut room = budget.n_tokens.saturating_sub(taken);
    while room > 0 {
        let splitter = TextSplitter::new(ChunkConfig::new(room).with_sizer(Sizer(budget.count)));
        let beginning = vec![shown(passage, splitter.chunks(&passage.text).next()?)];
        // Tokens can join at the seams, so the whole turn decides.
        if fits(&beginning, question, form, budget) {
            return beginning.into_iter().next();
        }
        room -= 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rag::Sentence;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn passage(text: &str) -> Passage {
        let (document, heading) = ("d".to_owned(), "Ada Finch".to_owned());
        Passage {
            document,
            heading,
            text: text.into(),
            bm25_rank: Some(1),
            bm25_score: 1.0,
            cosine: 0.5,
            sentence_cosine: 0.5,
            final_rank: 1,
            start: 0,
            sentences: Vec::new(),
        }
    }

    /// A passage of two sentences that starts somewhere in its document; the second is as near as it says.
    fn parted(start: usize, texts: [&str; 2], cosine: f32) -> Passage {
        let (first, text) = (0..texts[0].len(), texts.join(" "));
        let second = first.end + 1..text.len();
        let sentences = vec![Sentence { range: first, cosine: 0.1 }, Sentence { range: second, cosine }];
        Passage { start, sentences, ..passage(&text) }
    }

    fn build(question: &str, passages: &[Passage], form: PromptForm, n_tokens: usize) -> Result<RagPrompt> {
        build_prompt(question, passages, form, Budget { n_tokens, count: &words })
    }

    #[test]
    fn the_one_passage_stands_before_the_question() {
        let passages = [passage("She was born in Cinder Bay."), passage("Another.")];
        let prompt = build(" Where was she born? ", &passages, PromptForm::default(), 100).unwrap();
        let expected =
            "Ada Finch\nShe was born in Cinder Bay.\n\nBased on the text above: Where was she born?";
        assert_eq!((prompt.user_message.as_str(), prompt.n_used), (expected, 1));
    }

    #[test]
    fn the_nearest_sentences_of_the_document_are_said_once_more() {
        let form = PromptForm { n_sentences: 2, ..PromptForm::default() };
        let elsewhere = Passage { document: "e".into(), ..parted(0, ["No.", "Never."], 0.95) };
        let passages = [
            parted(40, ["She kept bees.", "She sold honey."], 0.8),
            elsewhere,
            parted(0, ["Ada was a sailor.", "She was born in Cinder Bay."], 0.9),
        ];
        let prompt = build("Where was she born?", &passages, form, 100).unwrap();
        let expected = "Ada Finch\nShe kept bees. She sold honey.\n\nShe was born in Cinder Bay. She sold honey.\n\n\
                        Based on the text above: Where was she born?";
        assert_eq!((prompt.user_message.as_str(), prompt.n_used), (expected, 1));
        // Without room for them the passage stands alone.
        let prompt = build("Where was she born?", &passages, form, 25).unwrap();
        assert_eq!(prompt.user_message.matches("honey").count(), 1);
    }

    #[test]
    fn the_best_of_several_is_where_the_order_says() {
        let passages = ["one", "two", "three"].map(passage);
        let mut form = PromptForm { max_passages: 2, ..PromptForm::default() };
        let last = build("Who?", &passages, form, 100).unwrap().user_message;
        assert!(last.find("two").unwrap() < last.find("one").unwrap() && !last.contains("three"));
        form.order = Order::BestFirst;
        form.form = Form::UseContext;
        let first = build("Who?", &passages, form, 100).unwrap().user_message;
        assert!(first.find("one").unwrap() < first.find("two").unwrap());
    }

    #[test]
    fn what_does_not_fit_is_left_out_or_cut_at_a_sentence() {
        let long = passage(&"This sentence has six words here. ".repeat(20));
        let form = PromptForm { max_passages: 2, ..PromptForm::default() };
        let prompt = build("Who is it?", &[passage("Short."), long.clone()], form, 40).unwrap();
        assert_eq!(prompt.n_used, 1);
        assert!(!prompt.user_message.contains("six words"));
        for n_tokens in 30..60 {
            let prompt = build("Who is it?", std::slice::from_ref(&long), form, n_tokens).unwrap();
            assert!(words(&prompt.user_message) <= n_tokens);
            assert!(prompt.user_message.contains("here.\n\nBased on"), "{}", prompt.user_message);
        }
    }

    #[test]
    fn a_question_that_is_too_long_is_refused_with_the_numbers() {
        let wrong =
            build(&"why ".repeat(200), &[passage("x")], PromptForm::default(), 100).unwrap_err().to_string();
        assert!(wrong.contains("200 tokens") && wrong.contains("room for 79"), "{wrong}");
        assert!(build(" \n", &[], PromptForm::default(), 100).is_err());
    }

    #[test]
    fn without_passages_the_question_stands_alone() {
        let prompt = build("Who?", &[], PromptForm::default(), 10).unwrap();
        assert_eq!((prompt.user_message.as_str(), prompt.n_used), ("Who?", 0));
    }

    #[test]
    fn forms_are_read_from_a_models_entry() {
        let form: PromptForm = toml::from_str(
            "max_passages = 3\norder = \"best_first\"\nform = \"use_context\"\nn_sentences = 2",
        )
        .unwrap();
        assert_eq!(
            form,
            PromptForm { max_passages: 3, order: Order::BestFirst, form: Form::UseContext, n_sentences: 2 }
        );
        assert!(toml::from_str::<PromptForm>("form = \"poem\"").is_err());
    }
}
