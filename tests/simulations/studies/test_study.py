"""Reading studies: what runs they spell out, and every refusal."""

from pathlib import Path

import pytest

from wardround.config import config_from_dict
from wardround.errors import ConfigError
from wardround.simulations.studies.study import Study
from wardround.simulations.studies.study_toml import load_study
from wardround.simulations.studies.tune_toml import load_tune

BASE = """
[federation]
dataset = "breast-cancer"
num-hospitals = 3

[training]
num-rounds = 2
local-steps = 1
sample-rate = 0.2

[privacy]
target-epsilon = 3.0
target-delta = 1e-4
max-grad-norm = 0.5
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)

    def write_study(text, name="trial.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_study


def test_a_study_is_placements_times_levels_times_seeds_after_its_baselines(write):
    study = load_study(
        write(
            '[study]\nbase = "base.toml"\nplacements = ["local", "central"]\ntarget-epsilons = [1.0, 2.5]\n'
            'noise-multipliers = [4]\nseeds = [7, 8]\nbaselines = ["majority", "federated"]\n'
        )
    )
    assert study.name == "trial"
    assert study.units == ("record",)
    runs = study.runs()
    assert len(runs) == 2 * 2 + 2 * 3 * 2
    assert [run.name for run in runs[:5]] == [
        "majority-seed-7",
        "majority-seed-8",
        "federated-seed-7",
        "federated-seed-8",
        "record-local-epsilon-1-seed-7",
    ]
    assert runs[-1].name == "record-central-noise-4-seed-8"
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        privacy = run.config.privacy
        assert privacy.max_grad_norm == 0.5
        assert run.config.simulation.engine == "stacked"
        assert run.config.federation.num_hospitals == 3
        assert (privacy.placement == "none") == bool(run.baseline)
    assert runs[-1].config.privacy.noise_multiplier == 4.0
    assert runs[-1].config.privacy.target_epsilon is None
    assert {run.config.federation.seed for run in runs} == {7, 8}


def test_levels_that_print_alike_have_folders_of_their_own():
    levels = (1.0, 1.0000001, 1e-05)
    study = Study(base=config_from_dict({}), placements=("local",), target_epsilons=levels)
    names = [run.name for run in study.runs()]
    assert names == ["record-local-epsilon-1-seed-1", "record-local-epsilon-1.0000001-seed-1", names[2]]
    assert "/" not in names[2]


def test_set_replaces_settings_of_the_base_and_what_they_exclude(write):
    text = '[study]\nbase = "base.toml"\nbaselines = ["pooled"]\n[set.training]\nbatch-size = 16\nnum-rounds = 5\n'
    base = load_study(write(text)).base
    assert (base.training.batch_size, base.training.sample_rate, base.training.num_rounds) == (16, None, 5)
    assert base.training.local_steps == 1
    # How much noise is the study's to say, whatever the base says.
    assert base.privacy.target_epsilon is None


def test_baselines_may_have_settings_of_their_own(write):
    text = (
        '[study]\nbase = "base.toml"\nplacements = ["local"]\nnoise-multipliers = [2.0]\n'
        'baselines = ["federated", "alone"]\n'
        '[study.vary]\n"training.momentum" = [0.0, 0.5]\n'
        "[baselines.training]\nlearning-rate = 0.125\nnum-rounds = 7\nmomentum = 0.9\n"
    )
    study = load_study(write(text))
    for each in study.runs():
        training = each.config.training
        assert ((training.learning_rate, training.num_rounds) == (0.125, 7)) == bool(each.baseline)
        assert training.momentum in (0.0, 0.5)  # what is varied keeps its values
    assert study.of_baselines.texts["training.learning-rate"] == "0.125"


def test_a_placement_may_have_settings_of_its_own(write):
    text = (
        '[study]\nbase = "base.toml"\nplacements = ["local", "central"]\nnoise-multipliers = [2.0]\n'
        'baselines = ["federated"]\n[placements.central.training]\nlearning-rate = 0.125\n'
        "[placements.central.privacy]\nmax-grad-norm = 0.25\n"
    )
    runs = load_study(write(text)).runs()
    assert {run.config.privacy.placement for run in runs} == {"none", "local", "central"}
    for run in runs:
        is_central = run.config.privacy.placement == "central"
        assert (run.config.training.learning_rate == 0.125) == is_central
        assert (run.config.privacy.max_grad_norm == 0.25) == is_central
        assert run.config.privacy.noise_multiplier == (None if run.baseline else 2.0)


def test_variants_are_settings_that_go_together(write):
    text = (
        '[study]\nbase = "base.toml"\nplacements = ["local"]\ntarget-epsilons = [3.0]\n'
        'baselines = ["majority", "pooled", "federated"]\n[study.vary]\n"training.learning-rate" = [0.1, 0.2]\n'
        "[variants.fedavg]\n"
        '[variants.fedadam.aggregation]\nstrategy = "fedadam"\neta = 0.03\n'
        '[variants.personal.personal]\nmethod = "mr-mtl"\nstrength = 0.5\n'
    )
    study = load_study(write(text))
    by_name = {run.name: run for run in study.runs()}
    kinds = ("majority", "pooled", "federated", "record")
    assert [sum(name.startswith(kind) for name in by_name) for kind in kinds] == [1, 2, 6, 6]
    found = by_name["record-local-epsilon-3-variant-fedadam-learning-rate-0.2-seed-1"]
    assert (found.config.aggregation.strategy, found.config.aggregation.eta) == ("fedadam", 0.03)
    assert found.config.training.learning_rate == 0.2
    assert found.varied == (("variant", "fedadam"), ("training.learning-rate", "0.2"))
    assert by_name["pooled-learning-rate-0.1-seed-1"].varied == (("variant", ""), ("training.learning-rate", "0.1"))
    personal = by_name["record-local-epsilon-3-variant-personal-learning-rate-0.1-seed-1"]
    assert personal.config.personal.strength == 0.5
    assert study.variants.texts["fedadam"]["aggregation.eta"] == "0.03"


def test_variants_alone_have_the_privacy_of_the_base(write):
    text = '[study]\nbase = "base.toml"\n[variants.a]\n[variants.b.training]\nlearning-rate = 0.3\n'
    assert [run.name for run in load_study(write(text)).runs()] == [
        "record-local-epsilon-3-variant-a-seed-1",
        "record-local-epsilon-3-variant-b-seed-1",
    ]


def test_units_multiply_the_runs_with_privacy(write):
    text = (
        '[study]\nbase = "base.toml"\nunits = ["record", "hospital"]\nplacements = ["central"]\n'
        'noise-multipliers = [2.0]\nbaselines = ["alone"]\n'
    )
    study = load_study(write(text))
    assert [run.name for run in study.runs()] == [
        "alone-seed-1",
        "record-central-noise-2-seed-1",
        "hospital-central-noise-2-seed-1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[studdy]\n", r"unknown section \[studdy\].*did you mean study"),
        ('study = "x"\n', r"\[study\] must be a table"),
        ("[study]\nplacement = []\n", "unknown key placement.*did you mean placements"),
        ("[study]\n", "there is nothing to run"),
        ('[study]\nplacements = ["local"]\n', "needs noise-multipliers or target-epsilons"),
        ("[study]\ntarget-epsilons = [1.0]\n", "needs noise-multipliers or target-epsilons"),
        ('[study]\nplacements = ["locl"]\ntarget-epsilons = [1.0]\n', 'placements = "locl".*did you mean local'),
        ('[study]\nplacements = "local"\ntarget-epsilons = [1.0]\n', "placements = 'local' must be a list of texts"),
        ('[study]\nplacements = ["local"]\ntarget-epsilons = [0]\n', r"target-epsilons = 0.0 must be > 0"),
        ('[study]\nplacements = ["local"]\nnoise-multipliers = [-1]\n', r"noise-multipliers = -1.0 must be > 0"),
        ('[study]\nunits = ["patient"]\nbaselines = ["pooled"]\n', 'units = "patient" must be one of record, hospital'),
        ('[study]\nbaselines = ["pool"]\n', 'baselines = "pool".*did you mean pooled'),
        ('[study]\nbaselines = ["pooled", "pooled"]\n', "baselines = .* holds a value twice"),
        ('[study]\nbaselines = ["pooled"]\nseeds = []\n', "seeds = .* must hold one seed or more"),
        ('[study]\nbaselines = ["pooled"]\nseeds = [-1]\n', "seeds = -1 must be >= 0"),
        ('[study]\nbaselines = ["pooled"]\nseeds = [1.5]\n', "seeds = 1.5 must be a whole number"),
        ('[study]\nbase = 3\nbaselines = ["pooled"]\n', "base = 3 must be the path"),
        ('[study]\nbaselines = ["pooled"]\n[baselines.federation]\nseed = 1\n', "must be a table of model or training"),
        ('[study]\nbaselines = ["pooled"]\n[baselines]\ntraining = 1\n', "must be a table of model or training"),
        ('[study]\nbaselines = ["pooled"]\n[baselines.training]\nlearning = 1\n', "unknown key learning"),
        ('[study]\nbaselines = ["pooled"]\n[placements.locl.training]\nmomentum = 1\n', "did you mean local"),
        ('[study]\nbaselines = ["pooled"]\n[placements.local]\ntraining = 1\n', "must be a table of settings"),
        ('[study]\nbaselines = ["pooled"]\n[placements.local.training]\nmomentum = 0\n', "the study has none"),
        ('[study]\nbaselines = ["pooled"]\n[variants]\na = 1\n', r"\[variants.a.\] must be a table of settings"),
        ('[study]\nbaselines = ["pooled"]\n[variants.a.federation]\nseed = 1\n', "by a key of its own.*seeds"),
        ('[study]\nbaselines = ["pooled"]\n[variants.a.simulation]\nengine = "ray"\n', "which the study decides"),
        ('[study]\nbaselines = ["pooled"]\n[variants."a/b".training]\nmomentum = 0\n', "variant 'a/b' has '/'"),
        (
            '[study]\nbaselines = ["pooled"]\n[study.vary]\n"training.momentum" = [0.0]\n'
            "[variants.a.training]\nmomentum = 0.5\n",
            r'"training.momentum" stands in \[study.vary\] and in \[variants.a\]',
        ),
        (
            '[study]\nplacements = ["local"]\nnoise-multipliers = [1]\n[baselines.training]\nlearning-rate = 1\n',
            "the study has none",
        ),
        ('[study]\nbase = "none.toml"\nbaselines = ["pooled"]\n', "no file .*none.toml"),
        ('[study]\nbaselines = ["pooled"]\n[set.privacy]\ntarget-epsilon = 1.0\n', "target-epsilon is what the study"),
        ('[study]\nbaselines = ["pooled"]\n[set.training]\nnum-round = 1\n', "unknown key num-round in .training."),
        ('[study]\nbaselines = ["pooled"]\n[set]\ntraining = 3\n', r"\[set.training\] must be a table"),
        ("[study\n", "not valid TOML"),
    ],
)
def test_what_is_refused(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_study(write(text))


def test_a_placement_that_the_base_does_not_fit_is_refused_before_anything_runs(write):
    text = '[study]\nbase = "base.toml"\nplacements = ["distributed"]\ntarget-epsilons = [1.0]\n'
    with pytest.raises(ConfigError, match="secure-sum"):
        load_study(write(text)).runs()


def test_correlated_noise_is_for_studies_of_its_own_unit_and_placement_alone(write):
    turns = '[set.training]\ncohorts = "round-robin"\nfraction-train = 0.34\n'
    correlated = '[set.privacy]\nnoise-correlation = "banded"\ntarget-delta = 1e-2\n'
    alone = '[study]\nbase = "base.toml"\nunits = ["hospital"]\nplacements = ["central"]\nnoise-multipliers = [1.0]\n'
    (only,) = load_study(write(alone + turns + correlated)).runs()
    assert (only.config.privacy.noise_correlation, only.config.privacy.placement) == ("banded", "central")
    several = alone.replace('["central"]', '["central", "local"]')
    with pytest.raises(ConfigError, match="is for noise that the server adds to whole updates"):
        load_study(write(several + turns + correlated))


def test_a_missing_study_says_where_studies_are(tmp_path):
    with pytest.raises(ConfigError, match="examples/studies"):
        load_study(tmp_path / "none.toml")


STUDIES = sorted((Path(__file__).parents[3] / "examples" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_example_is_valid_and_says_how_to_run_it(path):
    command, load = (
        ("tune", lambda file: load_tune(file).candidates())
        if "[tune]" in path.read_text()
        else ("compare", lambda file: load_study(file).runs())
    )
    assert load(path)
    assert f"wardround {command} examples/studies/{path.name}" in path.read_text()


def test_every_key_of_a_study_is_documented():
    text = (Path(__file__).parents[3] / "docs" / "studies.md").read_text()
    for table in ("[baselines.SECTION]", "[placements.PLACEMENT.SECTION]", "[variants.NAME.SECTION]"):
        assert f"`{table}`" in text
    for name in set(Study.__dataclass_fields__) - {"of_baselines", "of_placements", "variants"}:
        assert f"| `{name.replace('_', '-')}` |" in text
