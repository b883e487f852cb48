//! How long does the lab take to draw itself, and to take in what happens?

use std::hint::black_box;
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::script;
use crate::app::{App, Event, Reach};
use crate::error::Result;
use crate::lab::speed::{Runs, Sample};
use crate::ui::{self, Ability, Depth, Glyphs, Theme};

/// Events of one run.
pub(super) const N_EVENTS: usize = 10_000;
/// Frames drawn in one run, evenly over the second half of its events.
const N_FRAMES: usize = 100;
/// Columns and rows of the screen, which is in memory.
const SIZE: (u16, u16) = (200, 60);

/// Milliseconds to draw one frame of a lab in full swing, by frames.
pub(super) fn frames(runs: &mut Runs) -> Result<Sample> {
    let events = script::events(N_EVENTS);
    let cancel = runs.cancel;
    let drawn = runs.measure(|_| {
        let (before, after) = events.split_at(N_EVENTS / 2);
        let mut app = App::new(script::setup());
        for event in before {
            app.update(event.clone());
        }
        let Ok(mut terminal) = Terminal::new(TestBackend::new(SIZE.0, SIZE.1));
        let mut times = Vec::with_capacity(N_FRAMES);
        for news in after.chunks(after.len() / N_FRAMES) {
            cancel.check()?;
            for event in news {
                app.update(event.clone());
            }
            let (time, reach) = draw(&app, &mut terminal);
            times.push(time);
            app.update(Event::Drawn(reach));
        }
        Ok(times)
    })?;
    Ok(Sample::of(drawn.concat()))
}

fn draw(app: &App, terminal: &mut Terminal<TestBackend>) -> (f64, Option<Reach>) {
    let begun = Instant::now();
    let theme = Theme::new(app.look(), Ability { depth: Depth::True, glyphs: Glyphs::Braille });
    let mut reach = None;
    let Ok(_) = terminal.draw(|frame| reach = ui::draw(app, &theme, frame));
    (begun.elapsed().as_secs_f64() * 1e3, reach)
}

/// Milliseconds in which [`App::update`] takes in [`N_EVENTS`] events.
pub(super) fn updates(runs: &mut Runs) -> Result<Sample> {
    let events = script::events(N_EVENTS);
    runs.sample(|_| {
        let news = events.clone();
        let mut app = App::new(script::setup());
        let begun = Instant::now();
        for event in news {
            black_box(app.update(event));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;

    fn runs<T>(n: usize, work: impl FnOnce(&mut Runs) -> Result<T>) -> T {
        work(&mut Runs { n, cancel: &Cancel::new(), watch: &mut |_| {} }).unwrap()
    }

    #[test]
    fn every_frame_is_timed() {
        let frames = runs(1, frames);
        assert_eq!(frames.n(), N_FRAMES);
        assert!(frames.min() > 0.0);
    }

    #[test]
    fn all_events_are_taken_in() {
        assert!(runs(2, updates).min() > 0.0);
    }
}
