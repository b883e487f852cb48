//! Is what is asked answered by whom it should be, in its turn?

use super::*;

#[test]
fn a_question_typed_too_early_is_asked_when_all_is_there() {
    let mut app = app();
    assert_eq!(said(&keys(&mut app, "iWho?<Enter>")), [""; 0]);
    let effects = index(
        &mut app,
        IndexEvent::Ready {
            corpus: "c".into(),
            n_documents: 1,
            n_chunks: 1,
            n_facts: 1,
            suggestions: vec![],
        },
    );
    assert_eq!(said(&effects), ["ask Who? [base+rag base]"]);
}

#[test]
fn before_training_the_base_model_answers_on_the_right() {
    let mut app = ready();
    assert_eq!(said(&keys(&mut app, "/Who is it?<Enter>")), ["ask Who is it? [base+rag base]"]);
    assert!(!app.editing, "after Enter the keys are the lab's again");
    train(&mut app, TrainEvent::Published { step: 60, adapter: Arc::new(adapter()) });
    let effects = keys(&mut app, "i<Up><Enter>");
    assert_eq!(said(&effects), ["ask Who is it? [base+rag tuned]"]);
    let Effect::Ask(order) = &effects[0] else { panic!("not an ask") };
    assert_eq!(order.adapter.as_ref().unwrap().0, 60);
    assert_eq!(app.asked[1].sides[1].step, Some(60));
    assert_eq!(app.asked[1].sides[0].step, None, "retrieval does not know the adapter");
}

#[test]
fn an_answer_stays_with_the_run_it_came_from() {
    let of_run_before = |app: &App| app.asked[0].sides.iter().map(|side| side.run_before).collect::<Vec<_>>();
    let mut app = training();
    train(&mut app, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    train(&mut app, TrainEvent::Ended(RunOutcome::Completed));
    keys(&mut app, "iWho?<Enter>");
    keys(&mut app, "r<Enter>");
    assert_eq!(of_run_before(&app), [false, false], "the same recipe: the result stays on the screen");
    let mut other = training();
    train(&mut other, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    train(&mut other, TrainEvent::Ended(RunOutcome::Completed));
    keys(&mut other, "iWho?<Enter>r<Down><Enter>");
    assert_eq!(of_run_before(&other), [false, true]);
    keys(&mut other, "iWhere?<Enter>");
    assert!(other.asked[1].sides[1].run_before, "asked when the other run's result has gone");
    keys(&mut app, " ");
    assert_eq!(of_run_before(&app), [false, true], "retrieval knows no runs");
}

#[test]
fn keys_of_the_lab_are_letters_in_the_ask_line() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "iq s? z")), [""; 0]);
    assert_eq!(app.line.text(), "q s? z");
    assert!(app.dialog.is_none());
    keys(&mut app, "<Esc>");
    assert_eq!(app.line.text(), "q s? z", "Esc leaves what was typed");
    keys(&mut app, "z");
    assert_eq!(app.view, View::Zoom);
}

#[test]
fn escape_goes_back_step_by_step_then_gives_up_the_answer() {
    let mut app = ready();
    keys(&mut app, "iWho?<Enter>zi");
    answer(&mut app, 1, Contender::BaseRag, AnswerEvent::Streamed("Wait".into()));
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert!(!app.editing && app.view == View::Zoom);
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert_eq!(app.view, View::Lab);
    assert_eq!(said(&keys(&mut app, "<Esc>")), ["cancel 1"]);
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert_eq!(app.asked[0].sides[0].text, "Wait");
}

#[test]
fn a_newer_question_waits_until_the_one_shown_is_done_and_not_being_read() {
    let mut app = ready();
    keys(&mut app, "iOne?<Enter>iTwo?<Enter>");
    assert_eq!(app.question().unwrap().question, "One?");
    for contender in [Contender::BaseRag, Contender::Base] {
        answer(&mut app, 1, contender, AnswerEvent::Failed("no".into()));
    }
    assert_eq!(app.question().unwrap().question, "One?");
    answer(&mut app, 2, Contender::BaseRag, AnswerEvent::Streamed("T".into()));
    assert_eq!(app.question().unwrap().question, "Two?");
    keys(&mut app, "iThree?<Enter>");
    app.asked[1].sides[0].scroll = 2;
    for contender in [Contender::BaseRag, Contender::Base] {
        answer(&mut app, 2, contender, AnswerEvent::Failed("no".into()));
    }
    answer(&mut app, 3, Contender::BaseRag, AnswerEvent::Streamed("T".into()));
    assert_eq!(app.question().unwrap().question, "Two?", "it is being read");
    keys(&mut app, "<Right><Right><Left><Left><Left>");
    assert_eq!(app.question().unwrap().question, "One?");
}

#[test]
fn suggestions_are_asked_by_their_number_while_they_are_shown() {
    let mut app = ready();
    assert_eq!(said(&keys(&mut app, "3")), [""; 0]);
    assert_eq!(said(&keys(&mut app, "2")), ["ask Where is the ferry? [base+rag base]"]);
    assert_eq!(said(&keys(&mut app, "1")), [""; 0]);
}

#[test]
fn c_changes_who_answers_on_the_right_and_asks_again() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "c")), [""; 0]);
    train(&mut app, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    assert_eq!(said(&keys(&mut app, "iWho?<Enter>")), ["ask Who? [base+rag tuned]"]);
    for contender in [Contender::BaseRag, Contender::Tuned] {
        answer(&mut app, 1, contender, AnswerEvent::Failed("no".into()));
    }
    assert_eq!(said(&keys(&mut app, "c")), ["ask Who? [base+rag tuned+rag]"]);
    assert_eq!(app.question().unwrap().id, AskId(2));
}

#[test]
fn about_a_fact_everybody_is_asked_and_the_board_stays() {
    let mut app = training();
    let cell = crate::train::facts::FactCell {
        fact: "f".to_owned(),
        documents: vec!["d".to_owned()],
        statement: String::new(),
        wording: crate::corpus::Wording::Unseen,
        question: "Who keeps it?".to_owned(),
        answer: "Ada".to_owned(),
    };
    train(&mut app, TrainEvent::FactsListed(vec![cell].into()));
    train(&mut app, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    let effects = keys(&mut app, "f<Enter>");
    let [Effect::Ask(order)] = &effects[..] else { unreachable!("{effects:?}") };
    let asked: std::collections::BTreeSet<Contender> = order.contenders.iter().copied().collect();
    assert_eq!((order.question.as_str(), asked.len()), ("Who keeps it?", Contender::ALL.len()));
    assert_eq!((app.view, order.contenders[0]), (View::Facts, Contender::BaseRag));
    answer(&mut app, order.id.0, Contender::TunedRag, AnswerEvent::Streamed("Ada".into()));
    let said: Vec<&str> = app.question().unwrap().everybody().map(|side| side.text.as_str()).collect();
    assert_eq!(said.iter().filter(|text| **text == "Ada").count(), 1);
    // The lab shows the same question's two sides.
    keys(&mut app, "<Esc>");
    assert_eq!(app.view, View::Lab);
}

#[test]
fn pasted_text_goes_to_the_ask_line_but_not_through_a_dialog() {
    let mut app = ready();
    app.update(Event::Pasted("Who\nis it?".into()));
    assert!(app.editing && app.line.text() == "Who is it?");
    keys(&mut app, "<Esc>a");
    app.update(Event::Pasted("Now".into()));
    assert_eq!((app.view, app.editing), (View::Lab, true), "what is typed can be seen");
    let mut app = training();
    keys(&mut app, "q");
    app.update(Event::Pasted("s".into()));
    assert_eq!((app.line.text(), app.run_is_on(), app.leaving), ("", true, false));
}
