"""Which settings do survival.toml and survival-alone.toml have? Chosen on the training patients alone.

    python examples/studies/survival_settings.py OUT_DIR

Each seed tests on another quarter of them. No official test patient is read, so that the figures of those studies
are of patients who chose nothing.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import wardround as wr
from wardround.config import FederationConfig
from wardround.datasets.loading import load_dataset
from wardround.survival import times_and_events

_CENTRE, _SCALE = 60.0, 10.0
"""Of age, the public constants of tcga-brca: all other features are 0 or 1."""

_PRIVATE = [(rounds, rate, clip) for rounds in (8, 24) for clip in (0.5, 2.0) for rate in (1.0, 3.0, 10.0)] + [
    *((rounds, 30.0, clip) for rounds in (8, 24) for clip in (0.2, 0.5)),
    *((rounds, 10.0, 1.0) for rounds in (8, 24)),
    *((rounds, 10.0, 0.5) for rounds in (4, 48)),
]
"""Rounds, learning rate and clip, of all placements."""

_BEST = {
    "local": [(4, 10.0, 0.5), (8, 10.0, 0.5), (24, 3.0, 0.5), (24, 30.0, 0.2), (8, 1.0, 2.0)],
    "others": [(24, 10.0, 0.5), (48, 10.0, 0.5), (24, 30.0, 0.2), (24, 10.0, 1.0), (24, 3.0, 2.0)],
}
"""Of these, those that were tried with further seeds."""

_FEDERATED = [
    *((rounds, rate, None) for rounds in (20, 60) for rate in (0.3, 1.0, 3.0, 10.0, 30.0)),
    *((rounds, 10.0, None) for rounds in (5, 120, 240)),
    *((10, 1.0, None), (30, 1.0, None), (10, 3.0, None), (200, 3.0, None)),
]
_ALONE = [
    *((rounds, rate, None) for rounds in (1, 3, 10) for rate in (0.3, 1.0, 3.0)),
    *((rounds, rate, None) for rounds in (30, 60) for rate in (1.0, 3.0, 10.0)),
    *((10, 10.0, None), (3, 10.0, None), (20, 3.0, None)),
]


def training_patients() -> wr.Federation:
    """Return the patients that the official split trains on, by region."""
    data = load_dataset(FederationConfig(dataset="tcga-brca"))
    (age,) = data.numbers
    features, answers = data.features.copy(), np.stack(times_and_events(data.labels), axis=1)
    features[:, age.column] = (features[:, age.column] - _CENTRE) / _SCALE
    regions = {str(name): (data.hospitals == name) & ~data.is_test for name in sorted(set(data.hospitals))}
    return wr.Federation.from_arrays(
        {name: (features[is_there], answers[is_there]) for name, is_there in regions.items()},
        task="survival",
        feature_names=data.feature_names,
        time_edges=data.time_edges,
    )


def variants(candidates: list[tuple[int, float, float | None]]) -> dict[str, Any]:
    """Return a study's variants, by what they set."""
    found: dict[str, Any] = {}
    for rounds, rate, clip in candidates:
        training = {"num-rounds": rounds, "learning-rate": rate, "evaluate-every": rounds}
        privacy = {} if clip is None else {"privacy": {"max-grad-norm": clip}}
        name = f"rounds-{rounds}-rate-{rate:g}" + ("" if clip is None else f"-clip-{clip:g}")
        found[name.replace(".", "_")] = {"training": training} | privacy
    return found


def main(out: Path, num_seeds: int = 10, most: int | None = None) -> None:
    """Leave studies in a folder, of candidates (`most` of each kind) with as many splits of the training patients."""
    patients = training_patients()
    job = wr.Config.load(Path(__file__).parents[1] / "tcga-brca.toml").change(
        federation={"dataset": "python", "test_fraction": 0.25},
        aggregation={"protocol": "secure-sum", "min_survivors": 6},
    )
    open_job = job.change(privacy={"placement": "none"}, aggregation={"protocol": "plain"})
    first, further = (list(range(start, start + num_seeds)) for start in (101, 111))
    noisy = {"base": job, "target_epsilons": [3.0]}
    studies: dict[str, dict[str, Any]] = {
        "private": noisy | {"placements": ["local", "distributed", "central"], "variants": _PRIVATE, "seeds": first},
        "local": noisy | {"placements": ["local"], "variants": _BEST["local"], "seeds": further},
        "others": noisy | {"placements": ["distributed", "central"], "variants": _BEST["others"], "seeds": further},
        "federated": {"base": open_job, "baselines": ["federated"], "variants": _FEDERATED, "seeds": first},
        "alone": {"base": open_job, "baselines": ["alone"], "variants": _ALONE, "seeds": first},
    }
    for name, study in studies.items():
        wr.compare(study | {"variants": variants(study["variants"][:most])}, federation=patients, out=out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
