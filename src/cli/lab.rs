//! `lorascope`: what does the lab open with? Without a terminal, the same default run line by line, and
//! the same question put to both sides.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use super::ask::{self, AskArgs};
use super::open::AdapterFlags;
use super::train::{self, TrainArgs, TrainFlags};
use super::{Common, open, say};
use crate::app::{App, Goodbye, Look, Setup};
use crate::config::{Settings, ThemeName};
use crate::corpus::{Chunking, Corpus, Wording};
use crate::error::Error;
use crate::hub::Store;
use crate::paths::Paths;
use crate::train::{Recipe, TrainConfig};
use crate::tui;
use crate::ui::{Ability, Depth};
use crate::worker::{Crew, Site, TrainOrder};

/// Reports that may wait to be taken in.
const CHANNEL: usize = 1024;
/// Logs kept.
const LOGS_KEPT: usize = 10;

/// Opens the lab, or does without a screen.
pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() || common.json {
        return without_a_screen(common);
    }
    let (paths, settings) = common.settings()?;
    let site = site(&paths, &settings)?;
    let log = keep_a_log(&paths.logs()).map_or_else(
        |error| {
            eprintln!("there will be no log: {error:#}");
            None
        },
        Some,
    );
    let app = App::new(setup(&site, &settings, log)?);
    let (sender, events) = mpsc::channel(CHANNEL);
    let crew = Crew::start(site, sender)?;
    let farewell = tui::run(app, &crew, events)?;
    drop(crew);
    tracing::info!(timings = %farewell.timings, "left");
    if std::env::var_os("LORASCOPE_TIMINGS").is_some_and(|value| !value.is_empty()) {
        say(&farewell.timings)?;
    }
    if let Some(run) = &farewell.run {
        say_what_next(run)?;
    }
    Ok(match farewell.goodbye {
        Goodbye::Quit => ExitCode::SUCCESS,
        Goodbye::Interrupted | Goodbye::Terminated => ExitCode::from(130),
    })
}

fn say_what_next(run: &Path) -> anyhow::Result<()> {
    let run = train::quoted(run);
    say(format!("run     {run}"))?;
    say(format!("report  lorascope report {run}"))?;
    say(format!("go on   lorascope train --resume --run {run}"))
}

fn site(paths: &Paths, settings: &Settings) -> anyhow::Result<Site> {
    let store = Store::open(paths, &settings.hub)?;
    let model = settings.model.clone().unwrap_or_else(|| store.manifest().default_decoder.clone());
    Ok(Site {
        corpus: open::corpus_folder(paths, settings)?,
        chunking: Chunking::of(settings.chunk_tokens),
        paths: paths.clone(),
        store,
        model,
    })
}

fn setup(site: &Site, settings: &Settings, log: Option<PathBuf>) -> anyhow::Result<Setup> {
    let first = settings.recipe.as_deref().map_or(Ok(Recipe::Qa), str::parse)?;
    let mut recipes = vec![first];
    recipes.extend(Recipe::ALL.into_iter().filter(|recipe| *recipe != first));
    let order = |recipe| {
        let flags = TrainFlags { recipe: Some(recipe), ..TrainFlags::default() };
        flags.config(settings).map(|config| order_of(&config))
    };
    let model = Path::new(&site.model);
    let name = model.file_stem().filter(|_| model.exists()).map(|name| name.to_string_lossy().into_owned());
    Ok(Setup {
        model: name.unwrap_or_else(|| site.model.clone()),
        corpus: Corpus::name_of(&site.corpus),
        recipes: recipes.into_iter().map(order).collect::<Result<_, _>>()?,
        log,
        look: look(settings),
        colourless: colourless(|name| std::env::var(name).ok()),
    })
}

fn order_of(config: &TrainConfig) -> TrainOrder {
    TrainOrder {
        recipe: config.recipe.name().to_owned(),
        epochs: config.epochs,
        rank: config.lora.rank,
        alpha: config.lora.alpha,
        lr: config.lr,
        batch: config.batch,
        seed: config.seed,
    }
}

fn look(settings: &Settings) -> Look {
    match settings.theme {
        Some(ThemeName::Dark) => Look::Dark,
        Some(ThemeName::Light) => Look::Light,
        Some(ThemeName::Mono) => Look::Mono,
        None => Ability::from_env(|name| std::env::var(name).ok()).1,
    }
}

/// Why the terminal shows no colours, if it shows none.
fn colourless(var: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let asked = var("NO_COLOR").is_some_and(|value| !value.is_empty());
    match Ability::from_env(var).0.depth {
        Depth::None if asked => Some("NO_COLOR is set"),
        Depth::None => Some("this terminal has none"),
        Depth::True | Depth::Indexed | Depth::Named => None,
    }
}

/// Sends what is traced to a file of its own; the oldest logs go.
fn keep_a_log(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut old: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(Error::io("read", folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    old.sort();
    for path in old.iter().rev().skip(LOGS_KEPT - 1) {
        // One more old log does no harm.
        let _ = fs::remove_file(path);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let path = folder.join(format!("{}-{}.log", crate::run::stamp(now), std::process::id()));
    let file: File =
        OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
    let filter = EnvFilter::try_from_env("LORASCOPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second lab in one process keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
    Ok(path)
}

/// The default run, line by line; then one question to both sides.
fn without_a_screen(common: &Common) -> anyhow::Result<ExitCode> {
    let (paths, settings) = common.settings()?;
    let args = TrainArgs { flags: TrainFlags::default(), run: None, resume: false };
    let (code, run) = train::run_in(&args, common)?;
    let Some(run) = run else { return Ok(code) };
    let corpus = open::corpus(&paths, &settings)?;
    let mut all = corpus.facts.iter().flat_map(|fact| &fact.questions);
    let Some(question) = all.find(|question| question.wording == Wording::Unseen) else { return Ok(code) };
    if !common.json {
        say(format!("\nasked   {}", question.text))?;
    }
    let adapter = AdapterFlags { run: Some(run.display().to_string()), ..AdapterFlags::default() };
    ask::run(&AskArgs::both(&question.text, AdapterFlags { scale: 1.0, ..adapter }), common)
}
