"""A table, a model and a metric of your own from Python: plan, run, resume, plot, compare. The patients are invented.

    python examples/own_data.py [OUT] [ENGINE] [NUM_WORKERS]

`build` is a function of a file that can be imported, so that the command line trains the same model, bit for bit:

    PYTHONPATH=examples wardround run examples/own-csv.toml --set model.name=own_data:build
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

import wardround as wr

HERE = Path(__file__).parent


def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return the model before round 1: any torch module that makes an output for each class of a batch of records."""
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.Tanh(), nn.Linear(8, num_outputs))


def brier(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return how far the probabilities of the second class are from what came true: 0 is best."""
    return float(np.mean((predictions - labels) ** 2))


def main(out: Path, engine: str = "inline", num_workers: str = "2") -> None:
    """Leave a run and a study in a folder.

    Args:
        out: the folder.
        engine: "inline", or "ray" for hospitals in processes of their own.
        num_workers: how many processes, for hospitals and for the study's runs.
    """
    frame = pd.read_csv(HERE / "own-data.csv")
    federation = wr.Federation.from_frame(frame, target="readmitted", hospital="hospital", patient="patient")
    config = wr.Config.load(HERE / "own-csv.toml").change(
        simulation={"engine": engine, "num_workers": int(num_workers)}
    )
    print(federation.describe(config))
    print(wr.describe_columns(config, federation=federation))

    # Who would pay what; nothing is trained.
    print(wr.plan(config, federation=federation, model=build).frame)

    def stop_after_three(row: object) -> None:
        """Interrupt the run as Ctrl-C may."""
        if row.round_number == 3:
            raise KeyboardInterrupt

    given = {"federation": federation, "model": build, "metrics": {"brier": brier}}
    try:
        wr.run(config, **given, on_round=stop_after_three, out=out / "run")
    except KeyboardInterrupt:
        print("interrupted after round 3")

    # What came from Python is given again; the result is that of a run that was not interrupted.
    run = wr.resume(out / "run", **given)
    print(run, run.epsilon.hospitals, run.epsilon.readers)
    print(run.rounds[["round", "accuracy", "auc_pooled", "brier", "epsilon_max"]])
    print(wr.verify(run.folder).sentence)
    model = run.model()  # a torch module
    print(sum(parameter.numel() for parameter in model.parameters()), "parameters")
    chart = run.rounds.plot(x="round", y=["accuracy", "brier"], grid=True)
    chart.figure.savefig(out / "rounds.png")

    study = wr.compare(
        {
            "base": config.change(training={"num_rounds": 4, "local_steps": 1}),
            "placements": ["local", "central"],
            "target_epsilons": [2.0],
            "baselines": ["pooled"],
        },
        federation=federation,
        model=build,
        out=out / "study",
    )
    print(study.results[["baseline", "placement", "epsilon_max", "accuracy"]])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-data"), *sys.argv[2:])
