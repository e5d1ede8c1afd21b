"""What a run's models are measured by, made once before its first round, everything that can be refused refused."""

from collections.abc import Mapping
from typing import Any

from wardround.clients.profiles import survival_reference
from wardround.clients.public_loss import public_loss
from wardround.config import Config, check_exact_scores
from wardround.datasets import FederatedData
from wardround.datasets.public_records import public_records
from wardround.rounds import HospitalProfile
from wardround.server.round.evaluating import Measuring, Metric
from wardround.survival import check_scoring_library

__all__ = ["measuring_of"]


def measuring_of(
    config: Config,
    profile: HospitalProfile,
    *,
    metrics: Mapping[str, Metric] | None = None,
    public: tuple[Any, Any] | None = None,
    data: FederatedData | None = None,
) -> Measuring:
    """Return what models are measured by.

    Args:
        config: names the model.
        profile: of any hospital, whose task and shapes are those of all.
        metrics: a user's, by name (see `evaluating.check_metrics`).
        public: public records (see `datasets.public_records.public_of`).
        data: of all hospitals, where they are simulated in this process.

    Raises:
        ConfigError: metrics are of test scores that are not told, public records don't fit, or what scores a survival
            is not installed.
    """
    own, reference = dict(metrics or {}), None if data is None else survival_reference(data)
    check_scoring_library(profile.task)
    if own:
        check_exact_scores(config, f"the metrics {', '.join(own)} are of")
    if public is None:
        return Measuring(metrics=own, reference=reference)
    records = public_records(
        public, input_shape=tuple(profile.input_shape), num_outputs=profile.num_outputs, task=profile.task
    )
    return Measuring(metrics=own, public_loss=public_loss(config, records, profile), public=records.digest)
