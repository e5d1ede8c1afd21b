"""The release of statistics before round 1, as a job of one round that server and hospital both derive.

Hospitals fit a linear model without intercept, from zero, to the constant 1/2 on the moments of their records (see
`datasets.moments`): one step of rate 1 on all records, by squared loss. With y = 1/2 and w = 0 the gradient of
(w . x - y)^2 is 2 (w . x - y) x = -x, so that a record's gradient is its moments, and the model after the step is their
mean over the records. The clip is the longest that moments can be, so that nothing is cut. So the statistics are
clipped, noised, summed and billed by the cell of the job itself, in all of its ways, and there is no second mechanism
to be proved.
"""

from dataclasses import replace

from wardround.config import (
    AggregationConfig,
    Config,
    EvaluationConfig,
    FeaturesConfig,
    ImbalanceConfig,
    ModelConfig,
    PersonalConfig,
    PrivacyConfig,
    TrainingConfig,
)
from wardround.privacy.cells import cell_of
from wardround.score_sums import MOST_NORM

__all__ = ["STATISTICS_ROUND", "averaging_config", "scores_config", "scores_round", "statistics_config"]

STATISTICS_ROUND = 0
"""The round that statistics are charged in: the one that a run begins with."""


def statistics_config(config: Config, most_norm: float, target_epsilon: float) -> Config:
    """Return the settings of the release.

    Cell, protocol, survivors, delta, device and seed are those of the job; everything else is as said above. Noise that
    takes a part of earlier noise back is independent here, as nothing was before.

    Args:
        config: of the job.
        most_norm: the longest that the moments of a record can be (> 0).
        target_epsilon: of the release (> 0); a hospital, which is told its noise multiplier, may give any. It is not
            used without privacy, or where the job has no noise.
    """
    has_noise = cell_of(config.privacy).is_private and config.privacy.noise_multiplier != 0
    privacy = replace(
        config.privacy,
        noise_multiplier=None if has_noise else config.privacy.noise_multiplier,
        target_epsilon=target_epsilon if has_noise else None,
    )
    return averaging_config(config, most_norm, privacy)


def scores_round(config: Config) -> int:
    """Return the round that the release of test scores is charged in: the one after the last."""
    return config.training.num_rounds + 1


def scores_config(config: Config, privacy: PrivacyConfig, *, max_records: int | None) -> Config:
    """Return the settings of the release of test scores (see `score_sums`), with the noise of `privacy`.

    Args:
        config: of the job.
        privacy: its noise multiplier or target.
        max_records: the most test records that a hospital has, where that is agreed on.
    """
    config = averaging_config(config, MOST_NORM, privacy)
    return replace(config, federation=replace(config.federation, max_records=max_records))


def averaging_config(config: Config, most_norm: float, privacy: PrivacyConfig) -> Config:
    """Return the settings of a job whose model is the mean of its records' vectors, with the noise of `privacy`."""
    privacy = replace(
        privacy,
        max_grad_norm=most_norm,
        budget_epsilon=None,
        on_budget="stop",
        adaptive_clipping=False,
        target_quantile=None,
        clip_learning_rate=None,
        clipping=None,
        microbatch_size=1,
        noise_correlation="none",
    )
    aggregation = config.aggregation
    return replace(
        config,
        model=ModelConfig(),
        training=TrainingConfig(
            num_rounds=1, local_steps=1, sample_rate=1.0, learning_rate=1.0, device=config.training.device
        ),
        privacy=privacy,
        aggregation=AggregationConfig(
            protocol=aggregation.protocol,
            min_survivors=aggregation.min_survivors,
            max_colluding=aggregation.max_colluding,
        ),
        evaluation=EvaluationConfig(),
        features=FeaturesConfig(),
        imbalance=ImbalanceConfig(),
        personal=PersonalConfig(),
    )
