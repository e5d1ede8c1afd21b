"""Train a new federation from the model of one that has ended, and from nothing: what is that worth, at each epsilon?

    python examples/studies/warm_start.py OUT_DIR

The International Stroke Trial's hospitals with 50 patients or more, in two federations of different patients: those of
odd numbers have trained already, under secure aggregation; those of even numbers begin, with local noise.
"""

import sys
from pathlib import Path

import pandas as pd

import wardround as wr
from wardround.config import FederationConfig
from wardround.datasets.loading import load_dataset


def federations() -> tuple[wr.Federation, wr.Federation, dict[str, list[float]]]:
    """Return the federation that has ended, the one that begins, and public bounds of all columns."""
    trial = load_dataset(FederationConfig(dataset="ist", partition="natural"))
    frame = pd.DataFrame(trial.features, columns=trial.feature_names)
    frame["hospital"], frame["dead"] = trial.hospitals, pd.Series(trial.labels).map({0: "no", 1: "yes"})
    is_odd = frame["hospital"].str.removeprefix("hospital-").astype(int) % 2 == 1
    columns = {"target": "dead", "positive_class": "yes", "hospital": "hospital"}
    ended, begins = (wr.Federation.from_frame(part, **columns) for part in (frame[is_odd], frame[~is_odd]))
    bounds = {name: [0.0, 1.0] for name in trial.feature_names}
    return ended, begins, bounds | {trial.feature_names[each.column]: [each.low, each.high] for each in trial.numbers}


def main(out: Path, num_seeds: int = 20, levels: tuple[float, ...] = (0.5, 1.0, 5.0)) -> None:
    """Leave the run of the federation that has ended, and the study of the one that begins, in a folder."""
    ended, begins, bounds = federations()
    job = wr.Config.load(Path(__file__).parents[1] / "stroke-trial.toml")
    job = job.change(features={"bounds": bounds})
    together = {"protocol": "secure-sum", "min_survivors": len(ended.describe(job))}
    privacy = {"placement": "distributed", "target_epsilon": 1.0}
    first = wr.run(job.change(privacy=privacy, aggregation=together), federation=ended, out=out / "ended")
    given = {"initial": str(first.folder / "model.safetensors")}
    study = {
        "base": job,
        "placements": ["local"],
        "target_epsilons": list(levels),
        "seeds": list(range(201, 201 + num_seeds)),
        "variants": {
            # For epsilon 5 the best of six settings on seeds 101 to 103, for 0.5 and 1 of twelve on 101 to 106.
            "from-nothing": {},
            "from-nothing-slower": {
                "training": {"learning-rate": 0.3, "num-rounds": 10},
                "privacy": {"max-grad-norm": 1.0},
            },
            # Noise moves a model that is good already away from it: slower steps, chosen on seeds 101 to 103.
            "from-a-model": {"model": given, "training": {"learning-rate": 0.1}},
            "the-model-as-it-is": {"model": given, "training": {"learning-rate": 1e-6}},
        },
    }
    wr.compare(study, federation=begins, out=out / "begins")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
