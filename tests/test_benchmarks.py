from pathlib import Path

import numpy as np
import pytest

from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("num_dropouts", [0, 1])
def test_the_secure_sum_of_our_round_loop_is_that_of_the_clients(
    num_dropouts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from aggregation_ours import ON_OUR_ENGINE, OURS, write_sites
    from aggregation_protocols import Case, exact_average

    case = Case(
        num_clients=5, num_parameters=50, num_dropouts=num_dropouts, num_shares=5, min_survivors=3, num_rounds=1
    )
    write_sites(tmp_path, case)
    nodes = [Node(node_id=number + 1, node_config={"partition-id": number}) for number in range(case.num_clients)]
    ours = ON_OUR_ENGINE[OURS]
    average = ours.rounds(InlineGrid(lambda: ours.app(case, tmp_path), nodes), case, tmp_path)(1)
    np.testing.assert_allclose(average, exact_average(case, ours.drop_stage), rtol=0, atol=1e-7)
