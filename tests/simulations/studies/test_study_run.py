"""One run of a study: its rows have the scores of its last model, however seldom it was tested."""

import math
from pathlib import Path

from small_runs import rows_of, small_config

from wardround.simulations.studies.study import StudyRun
from wardround.simulations.studies.study_run import finish_run, read_result


def test_a_run_that_is_tested_seldom_has_the_scores_of_its_end(tmp_path: Path) -> None:
    config = small_config(training={"num-rounds": 5, "evaluate-every": 4})
    result = finish_run(StudyRun(name="seldom", config=config), tmp_path / "run")
    last = rows_of(tmp_path / "run" / "rounds.csv")[-1]
    assert (result.row.score, result.row.auc) == (float(last["accuracy"]), float(last["auc"]))
    assert [math.isfinite(row.auc) for row in result.hospitals] == [True] * 3
    assert read_result(tmp_path / "run") == result
