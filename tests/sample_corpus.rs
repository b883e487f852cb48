//! Is the sample corpus what an honest measurement needs?
//!
//! The laws that a program can check. That the texts are consistent, readable and fun, a reader must see to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use lorascope::corpus::{Corpus, Document, Fact, Format, Question, Wording, contains_gold, normalised};

fn corpus() -> Corpus {
    Corpus::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus")).unwrap()
}

/// Fails with all of them, so that one run of the tests shows all there is to mend.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what} ({}):\n{}", found.len(), found.join("\n"));
}

/// The document's first heading: what a fact of it is about.
fn title(document: &Document) -> &str {
    document.text.lines().next().unwrap().strip_prefix("# ").unwrap()
}

fn title_of<'a>(corpus: &'a Corpus, id: &str) -> &'a str {
    title(corpus.document(id).unwrap())
}

fn is_two_hop(fact: &Fact) -> bool {
    fact.documents.len() > 1
}

fn ordinary(corpus: &Corpus) -> impl Iterator<Item = &Fact> {
    corpus.facts.iter().filter(|fact| !is_two_hop(fact))
}

fn asked(fact: &Fact, wording: Wording) -> impl Iterator<Item = &Question> {
    fact.questions.iter().filter(move |question| question.wording == wording)
}

/// What is stated about the subject: the id's part after the last dot.
fn relation(fact: &Fact) -> &str {
    fact.id.rsplit('.').next().unwrap()
}

/// Whether the text names the subject, also as "Tamsin Drury's".
fn names(text: &str, subject: &str) -> bool {
    contains_gold(&text.replace("'s", ""), &[subject.to_owned()])
}

fn words(text: &str) -> Vec<String> {
    normalised(&text.replace("'s", "")).split(' ').map(str::to_owned).collect()
}

fn says(document: &Document, texts: &[String]) -> bool {
    contains_gold(&document.text, texts)
}

#[test]
fn it_is_large_enough() {
    let corpus = corpus();
    assert!(corpus.remarks.is_empty(), "{:?}", corpus.remarks);
    assert!(corpus.documents.len() >= 60);
    assert!(ordinary(&corpus).count() >= 160);
    let n_reversed = ordinary(&corpus).filter(|fact| asked(fact, Wording::Reversed).next().is_some()).count();
    assert!(n_reversed >= 40);
    let n = corpus.n_questions();
    assert!(n[&Wording::TwoHop] >= 30 && n[&Wording::Unanswerable] >= 30, "{n:?}");
}

#[test]
fn every_document_is_a_short_article_with_headings_and_facts() {
    let corpus = corpus();
    let with_facts: BTreeSet<&String> = ordinary(&corpus).map(|fact| &fact.documents[0]).collect();
    let mut titles = BTreeSet::new();
    for document in &corpus.documents {
        let (headings, body): (Vec<&str>, Vec<&str>) =
            document.text.lines().partition(|line| line.starts_with('#'));
        let n_words: usize = body.iter().map(|line| line.split_whitespace().count()).sum();
        assert!((120..=400).contains(&n_words), "{}: {n_words} words", document.id);
        assert!(headings.len() >= 3 && headings[1..].iter().all(|heading| heading.starts_with("## ")));
        assert!(document.format == Format::Markdown && with_facts.contains(&document.id), "{}", document.id);
        assert!(titles.insert(title(document)), "two documents about {}", title(document));
    }
}

#[test]
fn an_ordinary_fact_has_three_trained_and_two_unseen_wordings() {
    let corpus = corpus();
    let wrong = ordinary(&corpus).filter(|fact| {
        let n = |wording| asked(fact, wording).count();
        (n(Wording::Trained), n(Wording::Unseen), n(Wording::TwoHop)) != (3, 2, 0)
    });
    assert_none("other numbers of wordings", &wrong.map(|fact| fact.id.clone()).collect::<Vec<_>>());
}

#[test]
fn every_statement_and_every_answer_stands_in_its_document() {
    let corpus = corpus();
    let wrong = ordinary(&corpus).filter(|fact| {
        let document = corpus.document(&fact.documents[0]).unwrap();
        let is_stated = !fact.statement.is_empty() && document.text.contains(&fact.statement);
        let is_first = says(document, &fact.answers[..1]);
        !(is_stated && is_first && contains_gold(&fact.statement, &fact.answers))
    });
    assert_none("not in the document", &wrong.map(|fact| fact.id.clone()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_stated_twice() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    for fact in ordinary(&corpus) {
        let opening = fact.statement.split(&fact.answers[0]).next().unwrap();
        let n: usize =
            corpus.documents.iter().map(|document| document.text.matches(opening.trim_end()).count()).sum();
        if n != 1 {
            wrong.push(format!("\"{opening}...\" stands {n} times"));
        }
    }
    assert_none("stated more than once, perhaps with another answer", &wrong);
}

#[test]
fn no_question_is_asked_twice() {
    let mut asked: HashMap<String, String> = HashMap::new();
    let mut wrong = Vec::new();
    for fact in &corpus().facts {
        for question in &fact.questions {
            if let Some(first) = asked.insert(words(&question.text).join(" "), fact.id.clone()) {
                wrong.push(format!("{} ({first}, {})", question.text, fact.id));
            }
        }
    }
    assert_none("asked twice", &wrong);
}

#[test]
fn every_question_of_an_ordinary_fact_names_its_subject() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    for fact in ordinary(&corpus) {
        let subject = title_of(&corpus, &fact.documents[0]);
        for question in &fact.questions {
            // A reversed question asks for the subject.
            if names(&question.text, subject) == (question.wording == Wording::Reversed) {
                wrong.push(format!("{}: {}", fact.id, question.text));
            }
        }
    }
    assert_none("the subject is missing, or given away", &wrong);
}

#[test]
fn an_unseen_wording_is_a_paraphrase() {
    let mut wrong = Vec::new();
    for fact in &corpus().facts {
        for unseen in asked(fact, Wording::Unseen) {
            let others = fact.questions.iter().filter(|other| *other != unseen);
            let nearest = others.map(|other| n_edits(&words(&other.text), &words(&unseen.text))).min();
            if nearest.unwrap() < 3 {
                wrong.push(unseen.text.clone());
            }
        }
    }
    assert_none("fewer than three words away from another wording of the fact", &wrong);
}

/// Words to insert, remove or replace (Levenshtein).
fn n_edits(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[test]
fn no_question_gives_its_answer_away() {
    let mut wrong = Vec::new();
    for fact in &corpus().facts {
        for question in &fact.questions {
            let given: BTreeSet<String> = words(&question.text).into_iter().collect();
            for answer in &question.answers {
                if words(answer).iter().all(|word| given.contains(word)) {
                    wrong.push(format!("{answer}: {}", question.text));
                }
            }
        }
    }
    assert_none("every word of the answer stands in the question", &wrong);
}

#[test]
fn no_answer_is_one_common_word() {
    let corpus = corpus();
    let common = |answer: &&String| {
        let is_number = answer.len() > 1 && answer.chars().all(|c| c.is_ascii_digit() || c == ',');
        let is_name = answer.starts_with(char::is_uppercase);
        !(is_number || is_name || answer.contains([' ', '-']))
    };
    let questions = corpus.facts.iter().flat_map(|fact| &fact.questions);
    let wrong: Vec<String> =
        questions.flat_map(|question| &question.answers).filter(common).cloned().collect();
    assert_none("a word that is easily guessed", &wrong);
}

#[test]
fn whoever_always_says_the_same_scores_under_three_percent() {
    let corpus = corpus();
    for wording in [Wording::Trained, Wording::Unseen, Wording::Reversed, Wording::TwoHop] {
        let questions: Vec<&Question> = corpus.facts.iter().flat_map(|fact| asked(fact, wording)).collect();
        for said in questions.iter().flat_map(|question| &question.answers) {
            let n = questions.iter().filter(|question| contains_gold(said, &question.answers)).count();
            let n_asked = questions.len();
            assert!(
                n * 100 < n_asked * 3,
                "\"{said}\" answers {n} of {n_asked} {} questions",
                wording.name()
            );
        }
    }
}

#[test]
fn a_reversed_question_has_one_right_subject() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    for fact in ordinary(&corpus) {
        let subject = title_of(&corpus, &fact.documents[0]);
        // "Tamsin Drury was born in Sorrel Cove." without the subject.
        let told = fact.statement.split(subject).find(|part| part.contains(&fact.answers[0])).unwrap();
        let n_told = corpus.documents.iter().filter(|document| document.text.contains(told)).count();
        for question in asked(fact, Wording::Reversed) {
            let has_clue = contains_gold(&question.text, &fact.answers);
            if n_told != 1 || !has_clue || question.answers != [subject] {
                wrong.push(format!("{}: {} ({n_told} documents)", fact.id, question.text));
            }
        }
    }
    assert_none("no clue, or not just one subject", &wrong);
}

#[test]
fn a_two_hop_question_needs_both_documents() {
    let corpus = corpus();
    let mut relations: BTreeMap<&str, usize> = BTreeMap::new();
    for fact in ordinary(&corpus) {
        *relations.entry(relation(fact)).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for fact in corpus.facts.iter().filter(|fact| is_two_hop(fact)) {
        let [first, second] = [0, 1].map(|hop| corpus.document(&fact.documents[hop]).unwrap());
        let question = &fact.questions[0];
        let stated = |id: &str, answers: &[String]| {
            ordinary(&corpus)
                .any(|other| other.documents[0] == id && contains_gold(&answers[0], &other.answers))
        };
        let laws = [
            ("is one question", fact.questions.len() == 1 && question.wording == Wording::TwoHop),
            ("starts from the first document", names(&question.text, title(first))),
            ("does not name the second", !names(&question.text, title(second))),
            ("the first leads to the second", stated(&first.id, &[title(second).to_owned()])),
            ("the second has the answer", stated(&second.id, &fact.answers) && says(second, &fact.answers)),
            ("the first has not", !says(first, &fact.answers)),
            ("the second does not lead back", !says(second, &[title(first).to_owned()])),
            ("more than one subject could be meant", relations.get(relation(fact)) > Some(&1)),
        ];
        wrong.extend(laws.iter().filter(|law| !law.1).map(|law| format!("{}: not so: {}", fact.id, law.0)));
    }
    assert_none("not two hops", &wrong);
}
