//! What runs here, and how far is it?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::text::{bar, cut, fitting, put, put_right, span};
use super::theme::Theme;
use crate::app::words::{clock, count, rate, short, thousands, weights};
use crate::app::{App, Fetch, Run, Stage};
use crate::lab::Contender;
use crate::train::RunOutcome;

/// Cells between what stands on the left and what stands on the right.
const GAP: usize = 2;

/// One line, or two where there is room.
pub(super) struct Header<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

/// The state in a word, with its sign.
pub(super) fn state(app: &App, theme: &Theme) -> (&'static str, &'static str, Style) {
    let (on, quiet) = (theme.train(), theme.quiet());
    let preparation = &app.preparation;
    if let Some(run) = &app.run {
        return match &run.stage {
            Stage::Preparing => ("◌", "starting", on),
            Stage::Training if run.measuring.is_some() => ("◆", "measuring", on),
            Stage::Training if run.waits => ("◐", "answering", theme.contender(Contender::BaseRag)),
            Stage::Training => ("●", "training", on),
            Stage::Pausing => ("◑", "pausing", on),
            Stage::Paused => ("◑", "paused", theme.strong()),
            Stage::Stopping => ("◌", "saving", on),
            Stage::Ended(RunOutcome::Completed) if run.step() < run.n_steps => {
                ("■", "stopped", theme.strong())
            }
            Stage::Ended(RunOutcome::Completed) => ("■", "finished", theme.strong()),
            Stage::Ended(RunOutcome::Cancelled) => ("■", "stopped", theme.strong()),
            Stage::Ended(RunOutcome::Failed(_)) => ("✗", "failed", theme.general()),
        };
    }
    match preparation.fetching() {
        _ if preparation.failed.is_some() => ("✗", "not ready", theme.general()),
        _ if preparation.is_ready() => ("○", "ready", theme.strong()),
        Some((_, Fetch::Verifying)) => ("◌", "checking", quiet),
        Some(_) => ("◌", "fetching", quiet),
        None if preparation.indexing.is_some() => ("◌", "indexing", quiet),
        None => ("◌", "loading", quiet),
    }
}

impl Widget for Header<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let width = area.width as usize;
        let (left, right) = if area.height >= 2 {
            self.progress(area, buf);
            (self.identity(width), fitting(&self.stock(width), width / 2))
        } else {
            (self.short_identity(width), self.short_progress(width))
        };
        // What is on the right changes; what is on the left gives way.
        put(&fitting(&left, width.saturating_sub(right.width() + GAP)), area, 0, buf);
        put_right(&right, area, 0, buf);
    }
}

impl Header<'_> {
    /// What runs here, the longest first.
    fn identity(&self, width: usize) -> Vec<Line<'static>> {
        let theme = self.theme;
        let (name, size) = match &self.app.preparation.model {
            Some((name, n)) => (name, format!(" ({})", weights(*n))),
            None => (&self.app.setup.model, String::new()),
        };
        let (long, brief) = (cut(&format!("{name}{size}"), width / 3), cut(name, width / 3));
        let named =
            |model: &str| vec![span(" lorascope   ", theme.strong()), span(model.to_owned(), theme.text())];
        let Some(order) = self.app.order() else { return vec![Line::from(named(&long))] };
        let recipe = span(format!("   {}", order.recipe), theme.train());
        let adapter = span(format!("  r{} α{}", order.rank, order.alpha), theme.quiet());
        let lr = span(format!("  lr {}", rate(order.lr)), theme.quiet());
        let lengths = [
            (&long, vec![recipe.clone(), adapter.clone(), lr]),
            (&long, vec![recipe.clone(), adapter.clone()]),
            (&brief, vec![recipe.clone(), adapter]),
            (&brief, vec![recipe]),
        ];
        lengths.into_iter().map(|(model, more)| Line::from([named(model), more].concat())).collect()
    }

    /// What is asked about, the longest first.
    fn stock(&self, width: usize) -> Vec<Line<'static>> {
        let texts = match &self.app.preparation.stock {
            Some(stock) => {
                let name = cut(&stock.corpus, width / 6);
                let facts = count(stock.n_facts, "fact");
                let n = format!("{}, {facts} ", count(stock.n_documents, "document"));
                vec![format!("{name}: {n}"), n]
            }
            None => vec![format!("{} ", cut(&self.app.setup.corpus, width / 5))],
        };
        texts.into_iter().map(|text| Line::from(span(text, self.theme.quiet()))).collect()
    }

    /// The second line: state, bar, and the numbers of the run, each in a place of its own.
    fn progress(&self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let (sign, word, style) = state(self.app, theme);
        let state = Line::from(vec![span(format!(" {sign} {word:<11}"), style)]);
        put(&state, area, 1, buf);
        let Some(run) = self.app.run.as_ref().filter(|run| run.n_steps > 0) else { return };
        let numbers = self.numbers(run, (area.width, state.width()));
        let taken = (numbers.width() + state.width()) as u16;
        put_right(&numbers, area, 1, buf);
        let room = area.width.saturating_sub(taken + 3).min(40);
        if room >= 8 {
            let (full, empty) = bar(run.step() as f64 / run.n_steps as f64, room as usize);
            let (full, empty) = (full.replace('▇', "━"), empty.replace('▁', "─"));
            let line = Line::from(vec![span(full, theme.train()), span(empty, theme.faint())]);
            put(&line, Rect { x: area.x + state.width() as u16, width: room, ..area }, 1, buf);
        }
    }

    /// The numbers of the run; what is worth least goes where there is no room beside the state.
    fn numbers(&self, run: &Run, (width, taken): (u16, usize)) -> Line<'static> {
        let last = run.last.as_ref();
        let gap = if width >= 150 { "    " } else { "  " };
        let epoch = format!("{:>4.1}", last.map_or(0.0, |report| report.epoch));
        let mut parts = vec![(9, self.step(run)), (3, self.part((gap, "epoch "), epoch, ""))];
        if run.is_on() {
            let speed = last.filter(|_| !matches!(run.stage, Stage::Paused | Stage::Stopping));
            let speed =
                speed.map_or("–".to_owned(), |report| thousands(report.tokens_per_s.max(0.0) as u64));
            let lr = last.map_or(run.order.lr, |report| report.lr);
            let norm = last.map_or("–".to_owned(), |report| short(report.grad_norm));
            let elapsed = format!("{:>5}", clock(run.elapsed_s()));
            parts.extend([
                (4, self.part((gap, ""), format!("{speed:>6}"), " tok/s")),
                (2, self.part((gap, "lr "), format!("{:<6}", rate(lr)), "")),
                (1, self.part((gap, "‖g‖ "), format!("{norm:<5}"), "")),
                (5, self.part((gap, ""), elapsed, " elapsed")),
                (6, self.part((gap, ""), format!("{:>5}", left(run)), " left ")),
            ]);
        } else {
            parts.push((6, self.part((gap, "in "), clock(run.elapsed_s()), " ")));
        }
        let room = (width as usize).saturating_sub(taken + 1);
        let wide = |parts: &[(u8, Vec<Span>)]| -> usize {
            parts.iter().flat_map(|(_, spans)| spans).map(Span::width).sum()
        };
        while parts.len() > 1 && wide(&parts) > room {
            let least = parts.iter().map(|(worth, _)| *worth).min();
            parts.retain(|(worth, _)| Some(*worth) != least);
        }
        Line::from(parts.into_iter().flat_map(|(_, spans)| spans).collect::<Vec<_>>())
    }

    fn part(&self, (gap, name): (&str, &str), value: String, unit: &'static str) -> Vec<Span<'static>> {
        let theme = self.theme;
        vec![
            span(format!("{gap}{name}"), theme.quiet()),
            span(value, theme.text()),
            span(unit, theme.quiet()),
        ]
    }

    fn step(&self, run: &Run) -> Vec<Span<'static>> {
        let all = thousands(run.n_steps as u64);
        let step = format!("{:>width$}", thousands(run.step() as u64), width = all.len());
        vec![
            span("step ", self.theme.quiet()),
            span(step, self.theme.strong()),
            span(format!("/{all}"), self.theme.quiet()),
        ]
    }

    /// What runs here in few words, the longest first.
    fn short_identity(&self, width: usize) -> Vec<Line<'static>> {
        let theme = self.theme;
        let model = self.app.preparation.model.as_ref().map_or(&self.app.setup.model, |(name, _)| name);
        let model = cut(model.trim_end_matches("-instruct"), width / 4);
        let named = vec![span(" lorascope  ", theme.strong()), span(model, theme.text())];
        let order = self.app.order().filter(|_| width >= 76);
        let recipes = order.map_or(Vec::new(), |order| {
            vec![format!("  {} r{}", order.recipe, order.rank), format!("  {}", order.recipe)]
        });
        let with =
            |recipe: &String| Line::from([named.clone(), vec![span(recipe.clone(), theme.train())]].concat());
        recipes.iter().map(with).chain([Line::from(named.clone())]).collect()
    }

    fn short_progress(&self, width: usize) -> Line<'static> {
        let theme = self.theme;
        let (sign, word, style) = state(self.app, theme);
        let mut spans = vec![span(format!("{sign} "), style)];
        let Some(run) = self.app.run.as_ref().filter(|run| run.n_steps > 0) else {
            spans.push(span(format!("{word} "), style));
            return Line::from(spans);
        };
        let trains = run.stage == Stage::Training && !run.waits && run.measuring.is_none();
        if !trains {
            spans.push(span(format!("{word}  "), style));
        }
        spans.extend(self.step(run));
        let speed = run.last.as_ref().filter(|_| trains && width >= 76);
        if let Some(speed) = speed.map(|report| thousands(report.tokens_per_s.max(0.0) as u64)) {
            spans.push(span(format!("  {speed:>6} tok/s"), theme.text()));
        }
        if !run.is_on() {
            spans.push(span(format!("  in {} ", clock(run.elapsed_s())), theme.text()));
        } else if run.stage == Stage::Stopping {
            spans.push(span(" ", theme.text()));
        } else {
            spans.push(span(format!("  {:>5} left ", left(run)), theme.text()));
        }
        Line::from(spans)
    }
}

fn left(run: &Run) -> String {
    run.left_s().map_or("–:––".to_owned(), clock)
}
