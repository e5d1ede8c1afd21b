"""Settings of a user's table: what goes with what, and what is refused with a reason."""

import pytest
from site_files import site_config

from wardround.config import Config, FederationConfig, config_from_dict, config_to_toml, schema_from_table
from wardround.errors import ConfigError
from wardround.identity import agreed_digest

TABLE = {"dataset": "csv", "path": "own.csv", "target": "died"}
SCHEMA = schema_from_table({"died": {"levels": ["no", "yes"]}, "age": {"range": [18, 110]}})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"separator": "ab"}, r"separator = 'ab' must be one of ',', ';'"),
        ({"separator": ",", "decimal": ","}, "separator and decimal are both ','"),
        ({"decimal": "x"}, 'decimal = "x" must be one of'),
        ({"encoding": "latin-99"}, "encoding = 'latin-99' is not known"),
        ({"encoding": "base64"}, "encoding = 'base64' is not known"),
        ({"target_range": (1.0,)}, r"target-range = \[1.0\] must be two numbers, the lowest first"),
        ({"target_range": (2.0, 1.0)}, "the lowest first"),
        ({"target_range": (0.0, 1.0), "task": "classification"}, "target-range is of a target that is a number"),
        ({"target_range": (0.0, 1.0), "positive_class": "x"}, "target-range is of a target that is a number"),
        ({"positive_class": "x", "task": "regression"}, "positive-class goes with classes"),
        ({"patient_scope": "hospital"}, "no patient-column names any"),
        (
            {"patient_scope": "town", "patient_column": "id"},
            'patient-scope = "town" must be one of federation, hospital',
        ),
        ({"drop_columns": ("died",)}, "'died' is in drop-columns and in target"),
        ({"drop_columns": ("a",), "date_columns": ("a",)}, "'a' is in date-columns and in drop-columns"),
        ({"date_columns": {"a": "%d"}, "categorical_columns": ("a",)}, "'a' is in categorical-columns and in date-col"),
        ({"columns": ("a",), "drop_columns": ("a",)}, "'a' is in columns and in drop-columns"),
        ({"columns": ("died",)}, "'died' is in columns and in target"),
        ({"columns": ("a",), "date_columns": ("b",)}, "'b' is in date-columns and not in columns"),
        ({"columns": ("a", "a")}, "columns must name columns, each once"),
        ({"categorical_columns": ("a", "a")}, "categorical-columns must name columns, each once"),
        ({"drop_columns": ()}, "drop-columns must name columns"),
        ({"dataset": "digits"}, 'path goes with dataset = "csv", not "digits"'),
    ],
)
def test_settings_that_do_not_go_together_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FederationConfig(**TABLE | keys)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            (key, ("a",))
            for key in ("columns", "drop_columns", "date_columns", "categorical_columns", "missing_values")
        ],
        ("positive_class", "yes"),
        ("target_range", (0.0, 1.0)),
        ("separator", ";"),
        ("decimal", ","),
        ("encoding", "cp1252"),
        ("patient_scope", "hospital"),
    ],
)
def test_a_key_of_tables_is_refused_with_any_other_data(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf'{key.replace("_", "-")} goes with dataset = "csv", not "digits"'):
        FederationConfig(dataset="digits", **{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, ("age",)) for key in ("columns", "drop_columns", "date_columns", "categorical_columns")],
        ("positive_class", "yes"),
        ("target_range", (0.0, 1.0)),
    ],
)
def test_what_a_schema_says_is_not_said_twice(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{key.replace('_', '-')} is what \[federation.schema\] says already"):
        FederationConfig(**TABLE | {"schema": SCHEMA, key: value})


def test_settings_are_read_as_cells_are_and_written_back() -> None:
    toml = {
        **TABLE,
        "columns": ["body  weight ", "e\u0301tage", "seen"],
        "date-columns": {"seen": "%d.%m.%Y"},
        "missing-values": [-9, "?"],
        "positive-class": 2,
        "decimal": ",",
        "patient-column": "id",
        "patient-scope": "hospital",
    }
    config = config_from_dict({"federation": toml})
    assert config.federation.columns == ("body weight", "\xe9tage", "seen")
    assert (config.federation.missing_values, config.federation.positive_class) == (("-9", "?"), "2")
    import tomllib

    assert config_from_dict(tomllib.loads(config_to_toml(config))) == config


def test_settings_without_the_new_keys_are_written_as_before() -> None:
    written = config_to_toml(Config(federation=FederationConfig(**TABLE)))
    assert "patient-scope" not in written and "decimal" not in written


@pytest.mark.parametrize(
    ("key", "value"), [("separator", ";"), ("decimal", ","), ("encoding", "cp1252"), ("missing-values", ["?"])]
)
def test_how_cells_are_written_is_agreed_on_by_real_sites(key: str, value: object) -> None:
    assert agreed_digest(site_config(federation={key: value})) != agreed_digest(site_config())
