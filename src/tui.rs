//! How does the terminal get in and out? The only place that reads keys and draws on a screen.

mod guard;
mod keys;
mod timings;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event::{Event as Input, EventStream};
use futures_util::{FutureExt, Stream, StreamExt};
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant as Moment, MissedTickBehavior, interval, sleep_until};

pub use timings::{Spread, Timings};

use crate::app::{App, Effect, Event, Goodbye};
use crate::error::{Error, Result};
use crate::ui::{self, Ability, Theme};
use crate::worker::{WorkerEvent, Workers};
use guard::Guard;

/// At most 30 frames a second.
const FRAME: Duration = Duration::from_millis(33);
/// How often the clock on the screen is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Reports taken in before the keys are looked at again.
const AT_ONCE: usize = 1024;

/// How the lab was left.
#[derive(Debug)]
pub struct Farewell {
    /// Why.
    pub goodbye: Goodbye,
    /// The folder of the run on the screen, if there was one.
    pub run: Option<PathBuf>,
    /// How long keys and frames took.
    pub timings: Timings,
}

/// Shows the lab until the user leaves it. The terminal is as before afterwards, whatever happens.
pub fn run(app: App, workers: &dyn Workers, events: Receiver<WorkerEvent>) -> Result<Farewell> {
    let (ability, _) = Ability::from_env(|name| std::env::var(name).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let guard = Guard::enter(app.log()).map_err(broken)?;
    let farewell = runtime.block_on(async {
        let out = io::BufWriter::with_capacity(1 << 16, io::stdout());
        let mut terminal = Terminal::new(CrosstermBackend::new(out)).map_err(broken)?;
        let ends = Signals::listen().map_err(broken)?;
        let lab = Lab::new(app, workers, ability);
        let farewell = lab.live(&mut terminal, EventStream::new(), (events, ends)).await;
        // Dropped, it would show the cursor, as the guard does, and panic where the terminal is gone.
        std::mem::forget(terminal);
        farewell
    });
    drop(guard);
    // A read of the terminal may still be under way on a thread of its own; it is not waited for.
    runtime.shutdown_background();
    farewell
}

fn broken(source: impl std::fmt::Display) -> Error {
    Error::refused(
        format!("the terminal cannot be used: {source}"),
        "run `lorascope train` and `lorascope ask` instead, or try another terminal",
    )
}

/// The app and what surrounds it while it is on the screen.
struct Lab<'a> {
    app: App,
    workers: &'a dyn Workers,
    ability: Ability,
    timings: Timings,
    began: Instant,
    last_frame: Option<Instant>,
    dirty: bool,
    /// When the oldest key was pressed that no frame has shown yet.
    pressed: Option<Instant>,
    goodbye: Option<Goodbye>,
}

impl<'a> Lab<'a> {
    fn new(app: App, workers: &'a dyn Workers, ability: Ability) -> Self {
        Self {
            app,
            workers,
            ability,
            timings: Timings::default(),
            began: Instant::now(),
            last_frame: None,
            dirty: true,
            pressed: None,
            goodbye: None,
        }
    }

    /// Takes in what happens, all of it, then draws; until the end.
    async fn live<B: Backend>(
        mut self,
        terminal: &mut Terminal<B>,
        mut input: impl Stream<Item = io::Result<Input>> + Unpin,
        (mut events, mut ends): (Receiver<WorkerEvent>, Signals),
    ) -> Result<Farewell>
    where
        B::Error: std::fmt::Display,
    {
        for effect in self.app.start() {
            self.carry_out(effect);
        }
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports = true;
        while self.goodbye.is_none() {
            self.draw_when_due(terminal)?;
            let due = Moment::from_std(self.last_frame.unwrap_or(self.began) + FRAME);
            tokio::select! {
                biased;
                goodbye = ends.next() => self.update(Event::Signalled(goodbye)),
                key = input.next() => self.take(key),
                event = events.recv(), if reports => match event {
                    Some(event) => self.update(Event::Worker(event)),
                    None => reports = false,
                },
                () = sleep_until(due), if self.dirty => {}
                _ = clock.tick() => self.tick(),
            }
            self.drain(&mut input, &mut events);
        }
        let run = self.app.run_folder().cloned();
        let goodbye = self.goodbye.unwrap_or(Goodbye::Quit);
        Ok(Farewell { goodbye, run, timings: self.timings })
    }

    /// Takes in all that is there already.
    fn drain(
        &mut self,
        input: &mut (impl Stream<Item = io::Result<Input>> + Unpin),
        events: &mut Receiver<WorkerEvent>,
    ) {
        for _ in 0..AT_ONCE {
            let Ok(event) = events.try_recv() else { break };
            self.update(Event::Worker(event));
        }
        while self.goodbye.is_none() {
            let Some(key) = input.next().now_or_never() else { break };
            self.take(key);
        }
    }

    fn take(&mut self, input: Option<io::Result<Input>>) {
        match input {
            Some(Ok(input)) => {
                if let Some(event) = keys::event(input) {
                    if matches!(event, Event::Pressed(_)) {
                        self.pressed.get_or_insert_with(Instant::now);
                    }
                    self.update(event);
                }
            }
            // The terminal is gone.
            Some(Err(error)) => {
                tracing::error!(%error, "the terminal cannot be read");
                self.update(Event::Signalled(Goodbye::Terminated));
            }
            None => self.update(Event::Signalled(Goodbye::Terminated)),
        }
    }

    fn tick(&mut self) {
        let live = self.app.is_live();
        self.app.update(Event::Ticked(self.began.elapsed()));
        self.dirty |= live;
    }

    fn update(&mut self, event: Event) {
        if self.goodbye.is_some() {
            return;
        }
        self.dirty = true;
        self.app.update(Event::Ticked(self.began.elapsed()));
        for effect in self.app.update(event) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare => self.workers.prepare(),
            Effect::Train(order) => self.workers.train(order),
            Effect::Control(control) => self.workers.control(control),
            Effect::Ask(order) => self.workers.ask(order),
            Effect::CancelAsk(id) => self.workers.cancel_ask(id),
            Effect::JudgeClaims => self.workers.judge_claims(),
            Effect::CancelFetch => self.workers.cancel_fetch(),
            Effect::Quit(goodbye) => self.goodbye = Some(goodbye),
        }
    }

    fn draw_when_due<B: Backend>(&mut self, terminal: &mut Terminal<B>) -> Result<()>
    where
        B::Error: std::fmt::Display,
    {
        let due = self.last_frame.is_none_or(|last| last.elapsed() >= FRAME);
        if !self.dirty || !due {
            return Ok(());
        }
        let begun = Instant::now();
        let theme = Theme::new(self.app.look(), self.ability);
        let mut reach = None;
        terminal.draw(|frame| reach = ui::draw(&self.app, &theme, frame)).map_err(broken)?;
        self.timings.draw.note(begun.elapsed());
        if let Some(pressed) = self.pressed.take() {
            self.timings.key_to_frame.note(pressed.elapsed());
        }
        self.app.update(Event::Drawn(reach));
        (self.dirty, self.last_frame) = (false, Some(begun));
        Ok(())
    }
}

/// What the system sends to a program that should end.
struct Signals {
    #[cfg(unix)]
    all: Option<[tokio::signal::unix::Signal; 3]>,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [terminate, hangup, interrupt] = kinds.map(signal);
        Ok(Self { all: Some([terminate?, hangup?, interrupt?]) })
    }

    #[cfg(not(unix))]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Goodbye {
        let Some([terminate, hangup, interrupt]) = &mut self.all else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => Goodbye::Terminated,
            _ = hangup.recv() => Goodbye::Terminated,
            _ = interrupt.recv() => Goodbye::Interrupted,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Goodbye {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Goodbye::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(test)]
    fn none() -> Self {
        Self {
            #[cfg(unix)]
            all: None,
        }
    }
}

#[cfg(test)]
mod tests;
