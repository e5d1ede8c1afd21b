"""Which settings go with which cell of unit x placement; every other combination is refused with the reason.

Only what a cell can't honour, or has no proof for, is refused here. What a cell does is in `privacy.mechanisms`.
"""

from collections.abc import Iterator
from typing import Any

from wardround.errors import ConfigError

__all__ = ["check_cell", "check_protocol"]


def check_cell(privacy: Any, training: Any, aggregation: Any) -> None:
    """Refuse settings of [training], [aggregation] and [privacy] that contradict the cell.

    Args:
        privacy: `config.PrivacyConfig`.
        training: `config.TrainingConfig`.
        aggregation: `config.AggregationConfig`.

    Raises:
        ConfigError: the first contradiction, with its reason and what to set instead.
    """
    for message in _contradictions(privacy, training, aggregation):
        raise ConfigError(message)


def check_protocol(aggregation: Any) -> None:
    """Refuse numbers of survivors and colluders that do not go with each other or with the protocol.

    Args:
        aggregation: `config.AggregationConfig`.

    Raises:
        ConfigError: naming the setting, its value and the allowed range.
    """
    survivors, colluding = aggregation.min_survivors, aggregation.max_colluding
    if aggregation.protocol == "plain" and colluding:
        raise ConfigError(
            f'max-colluding = {colluding} has no meaning with protocol = "plain", which hides nothing from the server '
            '([aggregation] max-colluding): remove it, or set protocol = "secagg+"'
        )
    # A sum of one honest hospital is that hospital's data, unless its share of the noise was sized for that.
    least_honest = 2 if aggregation.protocol == "secagg+" else 1
    if aggregation.protocol != "plain" and survivors - colluding < least_honest:
        raise ConfigError(
            f"min-survivors = {survivors} must be >= {least_honest + colluding} with protocol = "
            f'"{aggregation.protocol}" and max-colluding = {colluding} ([aggregation] min-survivors): raise it, so '
            f"that every sum has {least_honest} honest hospitals or more"
        )


def _contradictions(privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
    if privacy.placement == "none":
        return
    if privacy.placement == "distributed" and aggregation.protocol == "plain":
        yield (
            'placement = "distributed" protects from the server only while the sum is all it sees ([privacy] '
            'placement): set [aggregation] protocol = "secagg+", or "secure-sum" to simulate it as an ideal'
        )
    if privacy.patient_overlap > 1:
        yield from _overlap(privacy)
    if privacy.unit == "record" and privacy.placement in ("central", "distributed"):
        yield from _one_gradient(privacy, training, aggregation)
    if privacy.adaptive_clipping and (privacy.unit != "hospital" or privacy.placement == "local"):
        yield (
            "adaptive-clipping = true needs updates that are summed before anyone sees them ([privacy] "
            'adaptive-clipping): set unit = "hospital" with placement = "central" or "distributed", or remove it'
        )


def _overlap(privacy: Any) -> Iterator[str]:
    overlap = f"patient-overlap = {privacy.patient_overlap} ([privacy] patient-overlap)"
    if privacy.unit == "hospital":
        yield f'{overlap} has no meaning with unit = "hospital", which protects whole hospitals: remove it'
    elif privacy.placement != "local":
        # Two of the patient's gradients in one sum meet the same noise: the divergence grows with the square of the
        # overlap, which adding the hospitals up would under-count.
        yield (
            f'{overlap}: with placement = "{privacy.placement}" a patient\'s gradients from several hospitals share '
            'one noise, and there is no bound for that here: set placement = "local", or patient-overlap = 1'
        )


def _one_gradient(privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
    cell = f'with unit = "record" and placement = "{privacy.placement}"'
    reason = "a hospital sends one gradient sum a round, and only the server takes a step"
    for key, given in (
        ("local-steps", training.local_steps not in (None, 1) and training.local_steps),
        ("local-epochs", training.local_epochs),
        ("momentum", training.momentum),
        ("optimizer", training.optimizer != "sgd" and training.optimizer),
    ):
        if given:
            instead = "set local-steps = 1" if key.startswith("local") else "use a strategy with a server optimizer"
            yield f"{key} = {given} has no meaning {cell} ([training] {key}), where {reason}: {instead}"
    if aggregation.strategy == "fedprox":
        yield (
            f'strategy = "fedprox" has no meaning {cell} ([aggregation] strategy), where {reason}, so that there is '
            'nothing to pull back: set strategy = "fedavg"'
        )
    if privacy.placement == "distributed" and training.grad_sample_mode == "ghost":
        yield (
            f'grad-sample-mode = "ghost" never has single gradients, which are rounded one by one {cell}: '
            'set grad-sample-mode = "auto" ([training] grad-sample-mode)'
        )
