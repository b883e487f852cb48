//! What runs here, and how far is it?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::text::{bar, cut, put, put_right, span};
use super::theme::Theme;
use crate::app::words::{clock, rate, short, thousands, weights};
use crate::app::{App, Fetch, Run, Stage};
use crate::lab::Contender;
use crate::train::RunOutcome;

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
        if area.height >= 2 {
            put(&self.identity(area.width as usize), area, 0, buf);
            put_right(&self.stock(area.width as usize), area, 0, buf);
            self.progress(area, buf);
        } else {
            put(&self.short_identity(area.width as usize), area, 0, buf);
            put_right(&self.short_progress(area.width as usize), area, 0, buf);
        }
    }
}

impl Header<'_> {
    fn identity(&self, width: usize) -> Line<'static> {
        let theme = self.theme;
        let model = match &self.app.preparation.model {
            Some((name, n)) => format!("{name} ({})", weights(*n)),
            None => self.app.setup.model.clone(),
        };
        let mut spans =
            vec![span(" lorascope   ", theme.strong()), span(cut(&model, width / 3), theme.text())];
        if let Some(order) = self.app.order() {
            spans.push(span(format!("   {}", order.recipe), theme.train()));
            let (rank, alpha, lr) = (order.rank, order.alpha, rate(order.lr));
            spans.push(span(format!("  r{rank} α{alpha}  lr {lr}"), theme.quiet()));
        }
        Line::from(spans)
    }

    fn stock(&self, width: usize) -> Line<'static> {
        let theme = self.theme;
        let text = match &self.app.preparation.stock {
            Some(stock) => {
                let name = cut(&stock.corpus, width / 6);
                format!("{name}: {} documents, {} facts ", stock.n_documents, stock.n_facts)
            }
            None => format!("{} ", cut(&self.app.setup.corpus, width / 5)),
        };
        Line::from(span(text, theme.quiet()))
    }

    /// The second line: state, bar, and the numbers of the run, each in a place of its own.
    fn progress(&self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let (sign, word, style) = state(self.app, theme);
        let state = Line::from(vec![span(format!(" {sign} {word:<11}"), style)]);
        put(&state, area, 1, buf);
        let Some(run) = self.app.run.as_ref().filter(|run| run.n_steps > 0) else { return };
        let numbers = self.numbers(run, area.width);
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

    fn numbers(&self, run: &Run, width: u16) -> Line<'static> {
        let last = run.last.as_ref();
        let mut spans = self.step(run);
        let gap = if width >= 150 { "    " } else { "  " };
        let epoch = last.map_or(0.0, |report| report.epoch);
        self.push(&mut spans, (gap, "epoch "), format!("{epoch:>4.1}"), "");
        let speed = last.map_or(0.0, |report| report.tokens_per_s).max(0.0);
        self.push(&mut spans, (gap, ""), format!("{:>6}", thousands(speed as u64)), " tok/s");
        let lr = last.map_or(run.order.lr, |report| report.lr);
        self.push(&mut spans, (gap, "lr "), format!("{:<6}", rate(lr)), "");
        let norm = last.map_or("–".to_owned(), |report| short(report.grad_norm));
        self.push(&mut spans, (gap, "‖g‖ "), format!("{norm:<5}"), "");
        self.push(&mut spans, (gap, ""), format!("{:>5}", clock(run.elapsed_s())), " elapsed");
        self.push(&mut spans, (gap, ""), format!("{:>5}", left(run)), " left ");
        Line::from(spans)
    }

    fn push(
        &self,
        spans: &mut Vec<Span<'static>>,
        (gap, name): (&str, &str),
        value: String,
        unit: &'static str,
    ) {
        let theme = self.theme;
        spans.push(span(format!("{gap}{name}"), theme.quiet()));
        spans.push(span(value, theme.text()));
        spans.push(span(unit, theme.quiet()));
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

    fn short_identity(&self, width: usize) -> Line<'static> {
        let theme = self.theme;
        let model = self.app.preparation.model.as_ref().map_or(&self.app.setup.model, |(name, _)| name);
        let model = cut(model.trim_end_matches("-instruct"), width / 4);
        let mut spans = vec![span(" lorascope  ", theme.strong()), span(model, theme.text())];
        if let Some(order) = self.app.order() {
            let recipe =
                if width >= 76 { format!("  {} r{}", order.recipe, order.rank) } else { String::new() };
            spans.push(span(recipe, theme.train()));
        }
        Line::from(spans)
    }

    fn short_progress(&self, width: usize) -> Line<'static> {
        let theme = self.theme;
        let (sign, word, style) = state(self.app, theme);
        let mut spans = vec![span(format!("{sign} "), style)];
        let Some(run) = self.app.run.as_ref().filter(|run| run.n_steps > 0) else {
            spans.push(span(format!("{word} "), style));
            return Line::from(spans);
        };
        if !run.is_on() || run.waits || run.measuring.is_some() || run.stage != Stage::Training {
            spans.push(span(format!("{word}  "), style));
        }
        spans.extend(self.step(run));
        if run.is_on() && width >= 76 && !run.waits && run.measuring.is_none() {
            let speed = run.last.as_ref().map_or(0.0, |report| report.tokens_per_s).max(0.0);
            spans.push(span(format!("  {:>6} tok/s", thousands(speed as u64)), theme.text()));
        }
        if run.is_on() {
            spans.push(span(format!("  {:>5} left ", left(run)), theme.text()));
        } else {
            spans.push(span(format!("  in {} ", clock(run.elapsed_s())), theme.text()));
        }
        Line::from(spans)
    }
}

fn left(run: &Run) -> String {
    run.left_s().map_or("–:––".to_owned(), clock)
}
