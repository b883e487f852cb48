//! Is a corpus read as its folder says, and is a bad line told?

use std::fs;
use std::path::Path;

use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn message(files: &[(&str, &str)]) -> String {
    Corpus::open(folder(files).path()).unwrap_err().to_string()
}

/// What is said about a second line of `facts.jsonl`.
fn line_message(line: &str) -> String {
    let facts = format!("{GOOD}\n{line}\n");
    let message = message(&[("a.md", "# A\n\ntext"), ("b.md", "# B\n\ntext"), ("facts.jsonl", &facts)]);
    assert!(message.contains("facts.jsonl:2: "), "{message}");
    message
}

const GOOD: &str = r#"{"id":"a.x","document":"a","answers":["X","x!"],"questions":[{"wording":"trained","question":"What is it?"},{"wording":"unseen","question":"Which is it?","answers":["Y"]},{"wording":"unanswerable","question":"Why?"}]}"#;

#[test]
fn a_folder_s_stamp_changes_with_what_is_read_and_with_nothing_else() {
    let dir = folder(&[("a.md", "one"), ("b.txt", "two")]);
    let stamp = || Corpus::stamp(dir.path());
    let before = stamp();
    assert_eq!(before, stamp());
    fs::write(dir.path().join("picture.png"), "not read").unwrap();
    assert_eq!(before, stamp());
    fs::write(dir.path().join("a.md"), "another").unwrap();
    let changed = stamp();
    fs::write(dir.path().join("c.md"), "more").unwrap();
    let added = stamp();
    fs::remove_file(dir.path().join("b.txt")).unwrap();
    let gone = stamp();
    assert!(before != changed && changed != added && added != gone);
    fs::write(dir.path().join("facts.jsonl"), GOOD).unwrap();
    let known = stamp();
    fs::write(dir.path().join("facts.jsonl"), format!("{GOOD}\n")).unwrap();
    assert!(known != gone && known != stamp(), "facts are read too");
}

#[test]
fn a_folder_is_read_in_order_with_ids_of_paths() {
    let dir = folder(&[
        ("b.txt", "plain"),
        ("people/ada.md", "\u{feff}# Ada"),
        ("people/Notes.MD", "# N"),
        ("picture.png", "not read"),
        (".git/config.md", "hidden"),
        (".hidden.md", "hidden"),
        ("empty.md", " \n"),
        ("corpus.toml", "name = \"Tern\"\ndescription = \"An island.\""),
        ("facts.jsonl", ""),
    ]);
    let corpus = Corpus::open(dir.path()).unwrap();
    let ids: Vec<_> = corpus.documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, ["b", "people/Notes", "people/ada"]);
    assert_eq!(corpus.document("people/ada").unwrap().text, "# Ada");
    assert_eq!((corpus.name.as_str(), corpus.description.as_str()), ("Tern", "An island."));
    assert_eq!(corpus.remarks.len(), 1, "{:?}", corpus.remarks);
    assert!(corpus.remarks[0].contains("empty.md"));
}

#[test]
fn the_digest_follows_texts_names_and_facts_alone() {
    let digest = |files: &[(&str, &str)]| Corpus::open(folder(files).path()).unwrap().digest;
    let first = digest(&[("a.md", "one"), ("b.md", "two")]);
    assert_eq!(first, digest(&[("b.md", "two"), ("a.md", "one"), ("c.png", "x")]));
    assert_ne!(first, digest(&[("a.md", "onet"), ("b.md", "wo")]));
    assert_ne!(first, digest(&[("a.md", "one"), ("c.md", "two")]));
    assert_ne!(digest(&[("a.md", "one"), ("facts.jsonl", GOOD)]), digest(&[("a.md", "one")]));
}

#[test]
fn unusable_folders_are_named_with_the_way_out() {
    assert!(message(&[]).contains("holds no .md or .txt file"));
    assert!(message(&[("a.md", "  ")]).contains("--corpus"));
    let missing = Corpus::open(Path::new("no/such/folder")).unwrap_err().to_string();
    assert!(missing.contains("no/such/folder") && missing.contains("no such folder"), "{missing}");
    let dir = folder(&[("a.md", "x")]);
    let file = Corpus::open(&dir.path().join("a.md")).unwrap_err().to_string();
    assert!(file.contains("is not a folder"), "{file}");
    assert!(message(&[("a.md", "x"), ("a.txt", "y")]).contains("the same document id, `a`"));
}

#[test]
fn a_file_that_is_not_utf8_is_named() {
    let dir = folder(&[("a.md", "good")]);
    fs::write(dir.path().join("b.txt"), b"caf\xe9").unwrap();
    let message = Corpus::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("b.txt:1: is not UTF-8 text (byte 3); save it as UTF-8"), "{message}");
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_and_to_nowhere_are_passed_over() {
    let dir = folder(&[("sub/a.md", "text")]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("gone.md")).unwrap();
    let corpus = Corpus::open(dir.path()).unwrap();
    assert_eq!(corpus.documents.len(), 1);
    assert_eq!(corpus.remarks.len(), 2, "{:?}", corpus.remarks);
}

#[test]
fn a_wrong_corpus_toml_is_named_with_its_line() {
    let wrong = message(&[("a.md", "x"), ("corpus.toml", "name = \"x\"\n\nnmae = \"y\"\n")]);
    assert!(wrong.contains("corpus.toml:3: ") && wrong.contains("nmae"), "{wrong}");
}

#[test]
fn facts_are_read_with_the_answers_of_each_question() {
    let dir = folder(&[("a.md", "x"), ("facts.jsonl", &format!("\n{GOOD}\r\n\n"))]);
    let corpus = Corpus::open(dir.path()).unwrap();
    let answers: Vec<_> = corpus.facts[0].questions.iter().map(|question| question.answers.clone()).collect();
    assert_eq!(answers, [vec!["X".to_owned(), "x!".to_owned()], vec!["Y".to_owned()], vec![]]);
    assert_eq!(corpus.facts[0].documents, ["a"]);
    assert_eq!(corpus.n_questions()[&Wording::Trained], 1);
}

#[test]
fn every_wrong_line_is_named_with_what_is_wrong() {
    let q = r#"[{"wording":"trained","question":"Other?"}]"#;
    let with = |head: &str, questions: &str| {
        format!(r#"{{"id":"b.x",{head}"answers":["X"],"questions":{questions}}}"#)
    };
    let cases = [
        ("{\"id\":".to_owned(), "EOF while parsing"),
        ("{]".to_owned(), "column"),
        (with(r#""document":"b","colour":1,"#, q), "unknown field `colour`"),
        (
            with(r#""document":"b","#, r#"[{"wording":"guessed","question":"?"}]"#),
            "unknown variant `guessed`",
        ),
        (with(r#""document":"b","#, r#"[{"question":"Other?"}]"#), "missing field `wording`"),
        (
            with(r#""document":"b","#, r#"[{"wording":"trained","question":"  "}]"#),
            "a trained question is empty",
        ),
        (with(r#""document":"b","#, "[]"), "`questions` is empty"),
        (with("", q), "missing field `document`"),
        (with(r#""documents":[],"#, q), "missing field `document`"),
        (with(r#""document":"b","documents":["a"],"#, q), "both `document` and `documents`"),
        (with(r#""document":"b.md","#, q), "no document `b.md`"),
        (with(r#""documents":["a","c"],"#, q), "no document `c`"),
        (
            with(
                r#""document":"b","#,
                r#"[{"wording":"trained","question":"Q?"},{"wording":"unseen","question":"q"}]"#,
            ),
            "asked twice",
        ),
        (
            with(r#""document":"b","#, r#"[{"wording":"unanswerable","question":"Q?","answers":["A"]}]"#),
            "must be empty",
        ),
        (
            with(r#""document":"b","#, r#"[{"wording":"unseen","question":"Q?","answers":[" "]}]"#),
            "one is blank",
        ),
        (
            with(r#""document":"b","#, r#"[{"wording":"unseen","question":"Q?","answers":["The"]}]"#),
            "`The` is articles and punctuation alone",
        ),
        (r#"["x","a",null,"s",["y"],[["trained","Q",null]]]"#.to_owned(), "a line is an object"),
        (
            with(r#""document":"b","#, r#"[{"wording":"unseen","question":"What is it"}]"#),
            "also a trained one (line 1)",
        ),
        (GOOD.to_owned(), "the id `a.x` stands on line 1 already"),
        (r#"{"document":"b","answers":[],"questions":[]}"#.to_owned(), "missing field `id`"),
        (
            r#"{"id":"b","document":"b","answers":[],"questions":[{"wording":"unseen","question":"Q?"}]}"#
                .to_owned(),
            "has no answer",
        ),
    ];
    for (line, expected) in cases {
        let message = line_message(&line);
        assert!(message.contains(expected), "{line}\n{message}");
        assert!(!message.contains("at line 1"), "{message}");
    }
}

#[test]
fn the_qa_recipe_takes_trained_wordings_and_holds_unseen_ones_out() {
    let untrained = r#"{"id":"b.y","documents":["a","b"],"answers":["Z"],"questions":[{"wording":"two_hop","question":"Whose?"}]}"#;
    let facts = format!("{GOOD}\n{untrained}\n");
    let dir = folder(&[("a.md", "x"), ("b.md", "y"), ("facts.jsonl", &facts)]);
    let examples = qa_examples(&Corpus::open(dir.path()).unwrap(), usize::MAX);
    assert_eq!(examples.train.len(), 1);
    let first = &examples.train[0];
    assert_eq!((first.entity.as_str(), first.completion.as_str()), ("a", "X"));
    assert_eq!(first.prompt, [Turn { role: Role::User, text: "What is it?".into() }]);
    assert_eq!(examples.held_out[0].completion, "Y");
    assert_eq!(examples.remarks, ["1 of 2 facts have no trained wording and are not trained on"]);
}

#[test]
fn of_the_trained_wordings_the_first_are_asked_and_of_the_others_all() {
    let question = |wording, text: &str| Question { wording, text: text.into(), answers: Vec::new() };
    let (trained, unseen) = (Wording::Trained, Wording::Unseen);
    let questions =
        vec![question(trained, "a"), question(unseen, "b"), question(trained, "c"), question(unseen, "d")];
    let fact = Fact {
        id: "f".into(),
        documents: Vec::new(),
        statement: String::new(),
        answers: Vec::new(),
        questions,
    };
    let asked = |wording, n| fact.asked(wording, n).map(|q| q.text.as_str()).collect::<Vec<_>>();
    assert_eq!(asked(trained, 1), ["a"]);
    assert_eq!(asked(trained, usize::MAX), ["a", "c"]);
    assert_eq!(asked(unseen, 1), ["b", "d"]);
}

#[test]
fn the_documents_recipe_takes_whole_texts_and_holds_whole_documents_out() {
    let names: Vec<String> = (0..25).map(|i| format!("d{i}.md")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), " text \n")).collect();
    let corpus = Corpus::open(folder(&files).path()).unwrap();
    let examples = document_examples(&corpus, 1);
    assert_eq!((examples.train.len(), examples.held_out.len()), (23, 2));
    assert!(examples.train.iter().all(|example| example.prompt.is_empty() && example.completion == "text"));
    let few = document_examples(&Corpus::open(folder(&files[..3]).path()).unwrap(), 1);
    assert_eq!((few.train.len(), few.held_out.len(), few.remarks.len()), (3, 0, 1));
}
