//! Which charts has a run, and what is on them?

use super::history::Measurement;
use super::{Facts, History};
use crate::app::words::{percent, short};
use crate::corpus::Wording;
use crate::lab::Contender;
use crate::plot::{Along, Chart, Curve, Ink, Line, Marker, Scale};

/// Values that span more than this factor are drawn on a logarithmic scale.
const DECADE: f64 = 10.0;

/// The charts with their file names, in the order of the page. Recall is there only where it was
/// measured.
pub(super) fn of(facts: &Facts) -> Vec<(&'static str, Chart)> {
    let mut charts = vec![("loss", loss(facts)), ("perplexity", perplexity(facts))];
    if !facts.history.wordings().is_empty() {
        charts.push(("recall", recall(facts)));
    }
    charts
}

fn loss(facts: &Facts) -> Chart {
    let history = &facts.history;
    let valid = measured(history, |at| at.valid_loss);
    let raw = history.loss.whole().iter().flat_map(|s| {
        // A stretch of merged steps is drawn from its lowest to its highest.
        let ends = if s.low < s.high { vec![(s.x, s.low), (s.x, s.high)] } else { vec![(s.x, s.mean)] };
        ends.into_iter()
    });
    // Single steps may stick out; what counts is the smoothed curve and the validation.
    let tops = [history.smooth.highest(), highest(&valid), history.loss.first()];
    let top = tops.into_iter().flatten().fold(0.0, f64::max);
    let tuned = Ink::Contender(Contender::Tuned);
    let curves = vec![
        line("training, step by step", Ink::Raw, Line::Thin, raw.collect()),
        valued(
            line(
                "training, smoothed",
                tuned,
                Line::Thick,
                history.smooth.whole().iter().map(|s| (s.x, s.mean)).collect(),
            ),
            short,
        ),
        marked(line("validation", Ink::Valid, Line::Thick, valid), Marker::Dot, short),
    ];
    chart(facts, ("Loss", "mean nats per supervised token"), Scale::FromZero { top }, curves)
}

fn perplexity(facts: &Facts) -> Chart {
    let history = &facts.history;
    let corpus = measured(history, |at| at.valid_loss.map(f64::exp));
    let general = measured(history, |at| at.general_loss.map(f64::exp));
    let values = || corpus.iter().chain(&general).map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let (unit, scale) = if high > DECADE * low {
        ("lower is better; the scale is logarithmic", Scale::Log { low, high })
    } else {
        ("lower is better", Scale::FromZero { top: high })
    };
    let before = history.general_before().map_or(Vec::new(), |before| level(history, before));
    let curves = vec![
        valued(line("before training", Ink::Quiet, Line::Dashed, before), short),
        marked(line("corpus, held out", Ink::Valid, Line::Thick, corpus), Marker::Dot, short),
        marked(line("general text", Ink::General, Line::Thick, general), Marker::Down, short),
    ];
    chart(facts, ("Perplexity", unit), scale, curves)
}

fn recall(facts: &Facts) -> Chart {
    let history = &facts.history;
    let curve = |wording: Wording| {
        let (name, ink, marker) = match wording {
            Wording::Trained => ("trained wordings", Ink::Contender(Contender::Tuned), Marker::Up),
            Wording::Unseen => ("unseen wordings", Ink::Valid, Marker::Dot),
            Wording::Reversed => ("reversed", Ink::Quiet, Marker::Diamond),
            Wording::TwoHop => ("two-hop", Ink::Quiet, Marker::Square),
            Wording::Unanswerable => ("unanswerable", Ink::Faint, Marker::Down),
        };
        let points = measured(history, |at| at.recall.get(&wording).copied());
        marked(line(name, ink, Line::Thick, points), marker, percent)
    };
    let mut curves: Vec<Curve> = history.wordings().into_iter().rev().map(curve).collect();
    let board = facts.scoreboard.as_ref();
    if let Some(rag) = board.and_then(|board| board.score(Contender::BaseRag, Wording::Unseen)) {
        let ink = Ink::Contender(Contender::BaseRag);
        let points = level(history, rag.contains);
        curves.insert(0, valued(line("base + RAG, unseen", ink, Line::Dashed, points), percent));
    }
    chart(facts, ("Recall", "questions whose answer contains a right one"), Scale::Share, curves)
}

fn chart(facts: &Facts, (title, unit): (&str, &str), scale: Scale, curves: Vec<Curve>) -> Chart {
    Chart {
        title: title.to_owned(),
        run: facts.summary.name(),
        unit: unit.to_owned(),
        scale,
        along: Along::Steps { last: facts.history.last_step() as f64 },
        curves,
        remark: "nothing was measured yet".to_owned(),
    }
}

fn line(name: &str, ink: Ink, line: Line, points: Vec<(f64, f64)>) -> Curve {
    Curve { name: name.to_owned(), value: String::new(), ink, line, marker: None, points }
}

/// The curve with its last value written beside its name.
fn valued(curve: Curve, written: fn(f64) -> String) -> Curve {
    let value = curve.points.last().map(|(_, value)| written(*value)).unwrap_or_default();
    Curve { value, ..curve }
}

fn marked(curve: Curve, marker: Marker, written: fn(f64) -> String) -> Curve {
    Curve { marker: Some(marker), ..valued(curve, written) }
}

fn measured(history: &History, of: impl Fn(&Measurement) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |at: &Measurement| Some((at.step as f64, of(at).filter(|value| value.is_finite())?));
    history.measurements.iter().filter_map(point).collect()
}

fn level(history: &History, value: f64) -> Vec<(f64, f64)> {
    vec![(0.0, value), (history.last_step().max(1) as f64, value)]
}

fn highest(points: &[(f64, f64)]) -> Option<f64> {
    points.iter().map(|(_, value)| *value).reduce(f64::max)
}
