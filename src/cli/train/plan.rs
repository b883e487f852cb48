//! Which settings does a run get: those of the flags, of the user, or of its recipe?

use std::collections::BTreeSet;

use clap::Args;

use crate::config::Settings;
use crate::error::Result;
use crate::model::lora::Projection;
use crate::train::{Recipe, Schedule, TrainConfig};

/// How a run learns. What is left out comes from the settings, then from the recipe.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "settings", multiple = true)]
pub struct TrainFlags {
    /// What to train on: `qa` (questions and answers; the default), `documents` (raw text), or the program's own examples of a
    /// `style` or of `sentiment`.
    #[arg(long)]
    pub recipe: Option<Recipe>,
    /// How long, in passes over the examples (qa 8, documents 20, style and sentiment 3).
    #[arg(long, conflicts_with = "steps", value_name = "N")]
    pub epochs: Option<f64>,
    /// How long, in optimizer updates.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// LoRA rank (16).
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// LoRA alpha (32; twice the rank where only --rank is given).
    #[arg(long, value_name = "X")]
    pub alpha: Option<f64>,
    /// Peak learning rate (0.001).
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Examples of one micro-step (qa and sentiment 16, documents and style 8).
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Seed of the start weights and of the order of examples (42).
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Micro-steps of one update (1).
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,
    /// Tokens of an example at most (256).
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Which projections learn, of q,k,v,o,gate,up,down (all).
    #[arg(long, value_delimiter = ',', value_name = "P,P")]
    pub targets: Option<Vec<Projection>>,
    /// Scale by alpha / sqrt(rank) (rsLoRA).
    #[arg(long)]
    pub rslora: bool,
    /// How the learning rate goes after the warm-up: constant, cosine (the default) or linear.
    #[arg(long)]
    pub schedule: Option<Schedule>,
    /// Updates over which the learning rate rises (10).
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// The gradient's norm is clipped to this; 0 leaves it (1).
    #[arg(long, value_name = "X")]
    pub clip: Option<f64>,
    /// Decoupled weight decay (0).
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Updates between measurements; 0, the default, is once an epoch.
    #[arg(long, value_name = "N")]
    pub eval_every: Option<usize>,
    /// Updates between checkpoints (20).
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<usize>,
    /// Questions of each wording asked at each measurement (48).
    #[arg(long, value_name = "N")]
    pub recall_sample: Option<usize>,
    /// Trained wordings of each fact that are used; all if not given.
    #[arg(long, value_name = "N")]
    pub wordings: Option<usize>,
    /// Share of general text among the tokens that are read, 0 to 0.9: against forgetting.
    #[arg(long, value_name = "X")]
    pub replay: Option<f64>,
    /// Weight of the KL divergence from the base model on general text: against forgetting.
    #[arg(long, value_name = "X")]
    pub kl: Option<f64>,
}

impl TrainFlags {
    /// The settings of a run: flags over the user's settings over the recipe's own.
    ///
    /// # Errors
    /// When the user's settings name an unknown recipe, or the whole cannot work.
    pub fn config(&self, settings: &Settings) -> Result<TrainConfig> {
        let settled = settings.recipe.as_deref().map(str::parse).transpose()?;
        let mut config = TrainConfig::defaults(self.recipe.or(settled).unwrap_or(Recipe::Qa));
        let user = &settings.train;
        set(&mut config.epochs, self.epochs.or(user.epochs));
        config.steps = self.steps;
        set(&mut config.batch, self.batch.or(user.batch));
        set(&mut config.lr, self.lr.or(user.lr));
        set(&mut config.seed, self.seed.or(user.seed));
        set(&mut config.accumulation, self.accumulate);
        set(&mut config.max_tokens, self.max_tokens);
        set(&mut config.schedule, self.schedule);
        set(&mut config.warmup_steps, self.warmup);
        set(&mut config.clip, self.clip);
        set(&mut config.weight_decay, self.weight_decay);
        set(&mut config.eval_every, self.eval_every);
        set(&mut config.checkpoint_every, self.checkpoint_every);
        set(&mut config.recall_sample, self.recall_sample);
        config.wordings = self.wordings;
        set(&mut config.replay, self.replay);
        set(&mut config.kl, self.kl);
        let rank = self.rank.or(user.rank);
        set(&mut config.lora.rank, rank);
        // Alpha follows the rank unless whoever set the rank set it too.
        let of_user = if self.rank.is_some() && user.rank != self.rank { None } else { user.alpha };
        set(&mut config.lora.alpha, self.alpha.or(of_user).or(rank.map(|rank| 2.0 * rank as f64)));
        set(&mut config.lora.targets, self.targets.clone().map(BTreeSet::from_iter));
        config.lora.rslora = self.rslora;
        config.check()?;
        Ok(config)
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainSettings;

    #[test]
    fn flags_win_over_settings_and_settings_over_the_recipe() {
        let train = TrainSettings { lr: Some(2e-3), batch: Some(3), ..TrainSettings::default() };
        let settings = Settings { recipe: Some("documents".to_owned()), train, ..Settings::default() };
        let flags = TrainFlags { batch: Some(5), ..TrainFlags::default() };
        let config = flags.config(&settings).unwrap();
        assert_eq!((config.recipe, config.batch), (Recipe::Documents, 5));
        assert!((config.lr - 2e-3).abs() < 1e-12);
        let epochs = TrainConfig::defaults(Recipe::Documents).epochs;
        assert!((config.epochs - epochs).abs() < 1e-12);
    }

    #[test]
    fn alpha_follows_a_rank_that_stands_alone() {
        let alpha = |flags: TrainFlags, train: TrainSettings| {
            flags.config(&Settings { train, ..Settings::default() }).unwrap().lora.alpha
        };
        let rank = |rank| TrainFlags { rank: Some(rank), ..TrainFlags::default() };
        let user = TrainSettings { rank: Some(4), alpha: Some(4.0), ..TrainSettings::default() };
        assert!((alpha(rank(8), TrainSettings::default()) - 16.0).abs() < 1e-12);
        assert!((alpha(rank(8), user.clone()) - 16.0).abs() < 1e-12);
        assert!((alpha(TrainFlags::default(), user) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let settings = Settings { recipe: Some("poetry".to_owned()), ..Settings::default() };
        assert!(TrainFlags::default().config(&settings).unwrap_err().to_string().contains("poetry"));
        let flags = TrainFlags { batch: Some(0), ..TrainFlags::default() };
        assert!(flags.config(&Settings::default()).is_err());
        let flags = TrainFlags { steps: Some(0), ..TrainFlags::default() };
        assert!(flags.config(&Settings::default()).is_err());
        let flags = TrainFlags { clip: Some(f64::NAN), ..TrainFlags::default() };
        assert!(flags.config(&Settings::default()).is_err());
    }
}
