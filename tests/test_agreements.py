"""Settings that real sites can't have are refused, each with what to set instead; the others pass."""

from dataclasses import fields
from typing import Any

import pytest
from site_files import site_config, tables_of
from small_runs import small_config

from wardround.config import Config, check_agreement, config_from_dict
from wardround.errors import ConfigError
from wardround.identity import agreed_text


def test_settings_of_sites_pass() -> None:
    check_agreement(site_config())
    check_agreement(site_config(evaluation={"keep": "best", "public": "hospital.public:records"}))
    check_agreement(site_config(federation={"partition": "natural", "path": "rehearsal/*.csv"}))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"aggregation": {"protocol": "secure-sum"}}, r'protocol = "secure-sum" would show .* set "secagg\+"'),
        ({"aggregation": {"protocol": "plain"}}, r'protocol = "plain" would show a real site\'s update'),
        (
            {"federation": {"schema": None, "path": "x.csv"}},
            r'must be "csv" with a \[federation.schema\]',
        ),
        ({"federation": {"max-records": None}}, r"max-records is missing, and real sites need it"),
        ({"federation": {"hospital-column": "site"}}, r'hospital-column = "site" has no meaning'),
        (
            {"federation": {"patient-column": "patient", "patient-scope": "hospital"}},
            r'patient-scope = "hospital" has no meaning where every site has a table of its own',
        ),
        ({"federation": {"class-weights": [0.5, 1.0]}}, r"class-weights leaves rows out by their class"),
        ({"federation": {"partition": "dirichlet"}}, r'partition = "dirichlet" is of simulated hospitals'),
        (
            {"federation": {"patient-column": "patient"}, "training": {"grad-sample-mode": "ghost"}},
            r'grad-sample-mode = "ghost" can\'t average the rows of one patient',
        ),
        ({"privacy": {"target-delta": {"north": 1e-3}}}, r"target-delta must be one number for real sites"),
        ({"simulation": {"dropout-rate": 0.1}}, r"dropout-rate = 0.1 is of simulated hospitals"),
        ({"audit": {"canaries": 50}}, r"\[audit\] is of simulated hospitals"),
        ({"evaluation": {"patience": 3}}, r"patience = 3 would end a run by its models"),
    ],
)
def test_what_real_sites_can_not_have(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_agreement(config_from_dict(tables_of(**sections)))


def test_a_built_in_data_set_is_no_sites() -> None:
    with pytest.raises(ConfigError, match="protocol"):
        check_agreement(small_config())
    secure = small_config(aggregation={"protocol": "secagg+", "min-survivors": 2}, federation={"max-records": 500})
    with pytest.raises(ConfigError, match='dataset = "breast-cancer" must be "csv"'):
        check_agreement(secure)


def test_every_section_is_agreed_on_or_the_servers_own() -> None:
    """A section that is added later has to be decided on, here and in `identity.agreed_text`."""
    agreed = {"federation", "features", "model", "training", "privacy", "aggregation", "personal", "imbalance"}
    assert {item.name for item in fields(Config)} == agreed | {"evaluation", "simulation", "audit"}


def test_how_the_server_chooses_among_released_models_is_its_own_affair() -> None:
    chosen = site_config(evaluation={"keep": "best", "public": "hospital.public:records"})
    assert agreed_text(chosen) == agreed_text(site_config())
    begun = site_config().change(model={"initial": "public.safetensors", "initial_digest": "0" * 64})
    assert agreed_text(begun) == agreed_text(site_config())
