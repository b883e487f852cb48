//! What has the user settled in advance?
//!
//! Flags win over the environment, the environment over `lorascope.toml`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::paths::Paths;

/// Everything that can be settled in `lorascope.toml`. What is `None` was left open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A model's name, a hub id, a folder in Hugging Face layout or a `.gguf` file.
    pub model: Option<String>,
    /// The folder of documents.
    pub corpus: Option<PathBuf>,
    /// What a run trains on: `qa`, `documents`, `style` or `sentiment`.
    pub recipe: Option<String>,
    /// Tokens of a chunk at most, as the embedder counts them.
    pub chunk_tokens: Option<usize>,
    /// The colours of the lab.
    pub theme: Option<ThemeName>,
    /// What an hour of this machine costs, in dollars.
    pub price_per_hour: Option<f64>,
    /// What a run starts with unless told otherwise.
    pub train: TrainSettings,
    /// Where models come from.
    pub hub: HubSettings,
}

/// Defaults of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// LoRA rank.
    pub rank: Option<usize>,
    /// LoRA alpha.
    pub alpha: Option<f64>,
    /// Peak learning rate.
    pub lr: Option<f64>,
    /// Epochs.
    pub epochs: Option<f64>,
    /// Examples a step.
    pub batch: Option<usize>,
    /// Seed of the start weights and of the order of examples.
    pub seed: Option<u64>,
}

/// How models are fetched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubSettings {
    /// Seconds to wait for a connection to the hub; 4 if left open.
    pub connect_timeout_s: Option<f64>,
    /// The hub's address; `https://huggingface.co` if left open. Environment: `HF_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Whether the network is left alone. Environment: `LORASCOPE_OFFLINE`.
    pub offline: Option<bool>,
    /// The Python whose pip fetches wheels; `python3`, then `python`, if left open.
    /// Environment: `LORASCOPE_PYTHON`.
    pub python: Option<PathBuf>,
}

impl HubSettings {
    /// How long to wait for a connection to the hub.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout_s.unwrap_or(4.0))
    }
}

/// The lab's sets of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThemeName {
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
    /// No colours.
    Mono,
}

impl FromStr for ThemeName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "dark" => Ok(Self::Dark),
            "light" => Ok(Self::Light),
            "mono" => Ok(Self::Mono),
            _ => Err(format!("no theme `{text}`: dark, light or mono")),
        }
    }
}

impl Settings {
    /// The settings file, if there is one, overruled by the environment.
    pub fn read(paths: &Paths) -> Result<Self> {
        let settings = Self::load(&paths.settings_file())?;
        let is_ours = |name: &str| name.starts_with("LORASCOPE_") || name == "HF_ENDPOINT";
        for (name, value) in std::env::vars_os() {
            if let (Some(name), None) = (name.to_str().filter(|name| is_ours(name)), value.to_str())
                && name != "LORASCOPE_HOME"
            {
                let what = format!("the variable {name} is not UTF-8");
                return Err(Error::refused(what, "correct it or unset it"));
            }
        }
        settings.overruled_by(|name| std::env::var(name).ok())
    }

    /// Reads one settings file; without a file, everything is left open.
    ///
    /// An unknown key or a value of the wrong kind is an error that names file and line.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let settings: Self = toml::from_str(&text).map_err(|e| toml_error(path, &text, &e))?;
        settings.checked().map_err(|error| match error {
            Error::Refused { what, remedy } => Error::file(path, what, remedy),
            other => other,
        })
    }

    /// Lets variables of the environment overrule what was read; empty ones count as not set.
    ///
    /// `variable` looks a variable up by name.
    pub fn overruled_by(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = Environment(&variable);
        env.set("LORASCOPE_MODEL", &mut self.model)?;
        env.set("LORASCOPE_CORPUS", &mut self.corpus)?;
        env.set("LORASCOPE_RECIPE", &mut self.recipe)?;
        env.set("LORASCOPE_CHUNK_TOKENS", &mut self.chunk_tokens)?;
        if self.theme.is_none() && variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            self.theme = Some(ThemeName::Mono);
        }
        env.set("LORASCOPE_THEME", &mut self.theme)?;
        env.set("LORASCOPE_PRICE_PER_HOUR", &mut self.price_per_hour)?;
        env.set("LORASCOPE_RANK", &mut self.train.rank)?;
        env.set("LORASCOPE_ALPHA", &mut self.train.alpha)?;
        env.set("LORASCOPE_LR", &mut self.train.lr)?;
        env.set("LORASCOPE_EPOCHS", &mut self.train.epochs)?;
        env.set("LORASCOPE_BATCH", &mut self.train.batch)?;
        env.set("LORASCOPE_SEED", &mut self.train.seed)?;
        env.set("LORASCOPE_CONNECT_TIMEOUT", &mut self.hub.connect_timeout_s)?;
        env.set("HF_ENDPOINT", &mut self.hub.endpoint)?;
        env.set("LORASCOPE_PYTHON", &mut self.hub.python)?;
        match variable("LORASCOPE_OFFLINE").as_deref().map(str::trim) {
            None | Some("") => {}
            Some("0" | "false" | "no") => self.hub.offline = Some(false),
            Some(_) => self.hub.offline = Some(true),
        }
        self.checked()
    }

    /// Refuses values that no part of the program could use.
    fn checked(self) -> Result<Self> {
        if let Some(n) = self.chunk_tokens.filter(|n| !(16..=256).contains(n)) {
            return Err(Error::refused(
                format!("chunks of {n} tokens are out of range"),
                "set chunk_tokens to 16 to 256",
            ));
        }
        if let Some(price) = self.price_per_hour.filter(|price| !(price.is_finite() && *price >= 0.0)) {
            return Err(Error::refused(
                format!("{price} dollars an hour are no price"),
                "set price_per_hour to 0 or more",
            ));
        }
        let timeout = self.hub.connect_timeout_s.unwrap_or(4.0);
        if !(timeout > 0.0 && timeout <= 3600.0) {
            return Err(Error::refused(
                format!("the hub's connect time-out is {timeout} seconds"),
                "set hub.connect_timeout_s to more than 0 and at most 3600",
            ));
        }
        Ok(self)
    }
}

/// Variables of the environment, looked up by name.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// Sets `slot` from the variable, where it is set.
    fn set<T: FromStr<Err: std::fmt::Display>>(&self, name: &str, slot: &mut Option<T>) -> Result<()> {
        if let Some(text) = (self.0)(name).filter(|text| !text.trim().is_empty()) {
            let value = text.trim().parse().map_err(|e| {
                Error::refused(format!("the variable {name} is `{text}`: {e}"), "correct it or unset it")
            })?;
            *slot = Some(value);
        }
        Ok(())
    }
}

/// A TOML error as an [`Error::Line`]; `text` is the whole file.
pub fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = 1 + text.get(..start).unwrap_or_default().matches('\n').count();
    Error::Line { path: path.to_path_buf(), line, what: error.message().replace('\n', " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lorascope.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&path)
    }

    #[test]
    fn no_file_leaves_everything_open() {
        assert_eq!(Settings::load(Path::new("/no/such/lorascope.toml")).unwrap(), Settings::default());
    }

    #[test]
    fn a_full_file_is_read() {
        let settings = load(
            "model = \"m\"\ncorpus = \"c\"\nrecipe = \"qa\"\ntheme = \"light\"\n\
             [train]\nrank = 8\nalpha = 16.0\nlr = 1e-3\nepochs = 4.0\nbatch = 2\nseed = 7\n\
             [hub]\nconnect_timeout_s = 2.5\n",
        )
        .unwrap();
        assert_eq!(settings.theme, Some(ThemeName::Light));
        assert_eq!(settings.train.rank, Some(8));
        assert_eq!(settings.hub.connect_timeout(), Duration::from_millis(2500));
    }

    #[test]
    fn an_unknown_key_names_file_and_line() {
        let message = load("model = \"m\"\n[train]\nrank = 8\nrnak = 9\n").unwrap_err().to_string();
        assert!(message.contains("lorascope.toml:4:"), "{message}");
        assert!(message.contains("rnak"), "{message}");
    }

    #[test]
    fn a_wrong_kind_of_value_names_the_line() {
        let message = load("[train]\n\nrank = \"many\"\n").unwrap_err().to_string();
        assert!(message.contains("lorascope.toml:3:"), "{message}");
    }

    #[test]
    fn the_environment_overrules_the_file() {
        let env = |name: &str| match name {
            "LORASCOPE_MODEL" => Some("from-env".to_owned()),
            "LORASCOPE_RANK" => Some("4".to_owned()),
            "LORASCOPE_OFFLINE" => Some("1".to_owned()),
            "LORASCOPE_RECIPE" => Some(String::new()),
            _ => None,
        };
        let settings = load("model = \"from-file\"\nrecipe = \"qa\"\n").unwrap().overruled_by(env).unwrap();
        assert_eq!(settings.model.as_deref(), Some("from-env"));
        assert_eq!(settings.recipe.as_deref(), Some("qa"));
        assert_eq!(settings.train.rank, Some(4));
        assert_eq!(settings.hub.offline, Some(true));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let env = |name: &str| (name == "LORASCOPE_BATCH").then(|| "lots".to_owned());
        let message = Settings::default().overruled_by(env).unwrap_err().to_string();
        assert!(message.contains("LORASCOPE_BATCH") && message.contains("lots"), "{message}");
    }

    #[test]
    fn a_time_out_that_cannot_be_is_refused() {
        for bad in ["0.0", "-1.0", "nan", "1e30"] {
            assert!(load(&format!("[hub]\nconnect_timeout_s = {bad}\n")).is_err(), "{bad}");
        }
    }
}
