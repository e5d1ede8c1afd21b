"""A schema: what it refuses, what follows from it, and that no two different ones are taken for the same."""

import itertools
import tomllib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.config import (
    Column,
    Config,
    FederationConfig,
    Schema,
    config_from_dict,
    config_to_toml,
    load_config,
    schema_from_table,
)
from wardround.errors import ConfigError
from wardround.identity import agreed_digest

TABLE = {
    "died": {"levels": ["no", "yes"]},
    "age": {"range": [18, 110], "unit": "years"},
    "sex": {"levels": ["female", "male"]},
    "lactate": {"range": [0, 30], "unit": "mmol/l", "missing": True},
    "stage": {"levels": ["I", "II"], "missing": True},
}

HUGE = int("f" * 5_000, 16)  # Python does not write it in decimal digits


def federation(**keys):
    return {"federation": {"dataset": "csv", "target": "died", "schema": TABLE, **keys}}


def test_features_classes_and_task_follow_from_the_schema_alone():
    schema = schema_from_table(TABLE)
    assert schema.feature_names("died") == (
        *("age", "sex female", "sex male", "lactate", "lactate is missing"),
        *("stage I", "stage II", "stage is missing"),
    )
    assert schema.input_shape("died") == (8,)
    assert (schema.class_names("died"), schema.task("died")) == (("no", "yes"), "classification")
    assert (schema.class_names("age"), schema.task("age")) == ((), "regression")
    assert schema.feature_names("age")[:2] == ("died no", "died yes")
    with pytest.raises(ConfigError, match=r"has no column 'dead': did you mean died\?"):
        schema.input_shape("dead")


def test_a_schema_needs_no_file_as_every_site_has_its_own():
    config = config_from_dict(federation(**{"max-records": 500, "patient-column": "patient"}))
    assert config.federation.path is None
    assert config.federation.max_records == 500
    assert config.federation.schema == schema_from_table(TABLE)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda t: t == " ".join(unicodedata.normalize("NFC", t).split()) and t.isprintable()
)
numbers = st.floats(-1e300, 1e300)
kinds = st.one_of(
    st.builds(
        lambda ends, unit: {"range": tuple(sorted(ends)), "unit": unit},
        st.lists(numbers, min_size=2, max_size=2, unique=True),
        st.none() | names,
    ),
    st.builds(lambda levels: {"levels": tuple(levels)}, st.lists(names, min_size=2, max_size=4, unique=True)),
)
columns = st.builds(lambda name, kind, missing: (name, kind, missing), names, kinds, st.booleans())


def made(parts):
    """Return the schema of (name, kind, missing) parts, or None where made names clash."""
    try:
        return Schema(columns=tuple(Column(name=name, missing=missing, **kind) for name, kind, missing in parts))
    except ConfigError as error:
        assert "both make" in str(error)
        return None


@given(st.lists(columns, min_size=2, max_size=5, unique_by=lambda part: part[0]))
def test_what_is_written_as_toml_is_read_back_with_its_order(parts):
    schema = made(parts)
    if schema is None:
        return
    target = next((column.name for column in schema.columns if not column.missing), None)
    if target is None:
        return
    config = config_from_dict({"federation": {"dataset": "csv", "target": target, "schema": schema.as_table()}})
    read = config_from_dict(tomllib.loads(config_to_toml(config))).federation.schema
    assert read == schema
    assert [column.name for column in read.columns] == [part[0] for part in parts]


def test_no_two_schemas_have_one_digest():
    def column(**keys):
        return Column(**{"name": "a", "range": (0, 1), **keys})

    variants = [
        column(),
        column(name="ab"),
        column(range=(0, 2)),
        column(range=(-1, 1)),
        column(unit="m"),
        column(unit="mm"),
        column(missing=True),
        column(range=None, levels=("x", "y")),
        column(range=None, levels=("y", "x")),
        column(range=None, levels=("xy", "z")),
        column(range=None, levels=("x", "yz")),
        column(range=None, levels=("x", "y", "z")),
    ]
    other, third = Column(name="c", range=(0, 1)), Column(name="d", range=(0, 1))
    schemas = [Schema(columns=parts) for variant in variants for parts in ((variant, other), (other, variant))]
    schemas += [Schema(columns=(*schema.columns, third)) for schema in schemas]
    federations = [FederationConfig(dataset="csv", target="c", schema=schema) for schema in schemas]
    digests = [agreed_digest(Config(federation=federation)) for federation in federations]
    assert {len(digest) for digest in digests} == {32}
    assert all(one != another for one, another in itertools.combinations(digests, 2))


def test_zero_has_one_spelling():
    plus, minus = (schema_from_table({**TABLE, "age": {"range": [zero, 1]}}) for zero in (0.0, -0.0))
    assert str(plus.as_table()) == str(minus.as_table())


def test_accents_are_the_same_however_they_were_typed():
    one, other = (
        schema_from_table(
            {form("größe"): {"range": [0, 1], "unit": form("Ångström")}, "x": {"levels": ["a", form("é")]}}
        )
        for form in (lambda text: unicodedata.normalize("NFC", text), lambda text: unicodedata.normalize("NFD", text))
    )
    assert one == other
    with pytest.raises(ConfigError, match="levels name 'é' twice"):
        schema_from_table({**TABLE, "sex": {"levels": ["e\u0301", "\xe9"]}})


def replaced(**columns):
    return {key: value for key, value in {**TABLE, **columns}.items() if value is not None}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("x", r"schema = 'x' must be a table \(\[federation\] schema\): write \[federation.schema\]"),
        ({"died": TABLE["died"]}, "names 1 columns and needs a target and at least one feature"),
        ({}, "names 0 columns"),
        (replaced(age=[18, 110]), r"age = \(18, 110\)|age = \[18, 110\] must be a table"),
        (replaced(age={}), r"age must have either levels or a range \(\[federation.schema\] age\)"),
        (replaced(age={"range": [0, 1], "levels": ["a", "b"]}), "either levels or a range"),
        (replaced(age={"rnage": [0, 1]}), r"unknown key 'rnage' in \[federation.schema\] age: did you mean range\?"),
        (replaced(age={"name": "b", "range": [0, 1]}), "unknown key 'name'"),
        (replaced(age={"range": [0, 1, 2]}), "must be two numbers"),
        (replaced(age={"range": ["0", "1"]}), "must be two numbers"),
        (replaced(age={"range": [False, True]}), "must be two numbers"),
        (replaced(age={"range": 5}), "must be two numbers"),
        (replaced(age={"range": [1, 1]}), "must be finite numbers, the lowest first"),
        (replaced(age={"range": [2, 1]}), "the lowest first"),
        (replaced(age={"range": [0, float("inf")]}), "must be finite"),
        (replaced(age={"range": [float("nan"), 1]}), "must be finite"),
        (replaced(age={"range": [-1.7e308, 1.7e308]}), "less than 1.8e308 apart"),
        (replaced(age={"range": [0, 10**400]}), "must be finite"),
        (replaced(age={"range": [0, 1], "unit": ""}), "unit = '' must be 1 to 200 characters"),
        (replaced(age={"range": [0, 1], "unit": "\x07"}), "characters that can be seen"),
        (replaced(sex={"levels": ["a", "b"], "unit": "m"}), "unit = 'm' goes with a range"),
        (replaced(age={"range": [0, 1], "missing": "yes"}), "missing = 'yes' must be true or false"),
        (replaced(sex={"levels": "ab"}), "levels = 'ab' must be a list of texts"),
        (replaced(sex={"levels": ["a"]}), "levels must be 2 to 1,000 texts, not 1"),
        (replaced(sex={"levels": [str(number) for number in range(1001)]}), "not 1001"),
        (replaced(sex={"levels": [0, 1]}), r"a level = 0 must be a text .*: write it in quotes"),
        (replaced(sex={"levels": ["a", "a"]}), "levels name 'a' twice"),
        (replaced(sex={"levels": ["a", " b"]}), "without blanks at its ends"),
        (replaced(sex={"levels": ["a", ""]}), "must be 1 to 200"),
        (replaced(sex={"levels": ["a", "b\n"]}), "that can be seen"),
        (replaced(sex={"levels": ["a", "b\u202e"]}), "that can be seen"),
        (replaced(sex={"levels": ["a", "b" * 201]}), "must be 1 to 200"),
        (replaced(sex={"levels": ["a", "b  c"]}), "two in a row"),
        (replaced(sex={"levels": ["a", "b" * 197]}), "is made of column sex and has 201 characters, more than 200"),
        (replaced(**{"": TABLE["age"]}), "a column's name = ''"),
        (replaced(**{"a\x1bb": TABLE["age"]}), "a column's name"),
        (replaced(**{"sex female": TABLE["age"]}), "columns sex and sex female both make 'sex female'"),
        (replaced(**{"lactate is missing": TABLE["age"]}), "both make 'lactate is missing'"),
        (replaced(stage={"levels": ["I", "is missing"], "missing": True}), "both make 'stage is missing'"),
        (replaced(**{"a b": {"levels": ["c", "d"]}, "a": {"levels": ["b c", "e"]}}), "both make 'a b c'"),
        (
            {f"c{number}": {"levels": [str(level) for level in range(1000)]} for number in range(101)},
            "makes 101000 features and must make <= 100000",
        ),
        (replaced(died={"levels": ["no", "yes"], "missing": True}), "the target died can't be missing"),
        (replaced(died=None), r"\[federation.schema\] has no column 'died'"),
    ],
)
def test_each_wrong_schema_is_refused_by_the_key_and_with_the_next_step(schema, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(federation(schema=schema))


@pytest.mark.parametrize("place", ["schema", "column", "levels", "level", "range", "end", "missing"])
def test_a_number_too_long_to_be_written_is_refused_all_the_same(place):
    schema = {
        "schema": HUGE,
        "column": replaced(age=HUGE),
        "levels": replaced(sex={"levels": HUGE}),
        "level": replaced(sex={"levels": [HUGE, "a"]}),
        "range": replaced(age={"range": HUGE}),
        "end": replaced(age={"range": [0, HUGE]}),
        "missing": replaced(age={"range": [0, 1], "missing": HUGE}),
    }[place]
    with pytest.raises(ConfigError, match="too long to show"):
        config_from_dict(federation(schema=schema))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "digits", "target": None}, r'schema goes with dataset = "csv", not "digits": remove it'),
        ({"target": None}, r"needs \[federation\] target"),
        ({"task": "regression"}, 'task = "regression" must be "classification", as the schema has the target died'),
        ({"patient-column": "age"}, "patient-column = 'age' is a column of .*: remove it from the schema"),
        ({"hospital-column": "sex"}, "hospital-column = 'sex' is a column of"),
        ({"max-records": 0}, r"max-records = 0 must be >= 1 .*\(\[federation\] max-records\)"),
        ({"max-records": 2.5}, "max-records = 2.5 must be a whole number"),
    ],
)
def test_settings_that_do_not_go_with_a_schema_are_refused(keys, message):
    tables = federation(**keys)
    tables["federation"] = {key: value for key, value in tables["federation"].items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        config_from_dict(tables)


def test_schema_and_max_records_can_be_set_on_the_command_line():
    text = '{died = {levels = ["no", "yes"]}, age = {range = [18, 110]}}'
    words = ["federation.dataset=csv", "federation.target=died", f"federation.schema={text}"]
    config = load_config(None, [*words, "federation.max-records=500"])
    assert config.federation.max_records == 500
    assert config.federation.schema == schema_from_table(tomllib.loads(f"x = {text}")["x"])
    with pytest.raises(ConfigError, match=r"unknown key schema.age in \[federation\]: did you mean schema\?"):
        load_config(None, [*words, "federation.schema.age={range = [0, 1]}"])
    with pytest.raises(ConfigError, match="must be a table"):
        load_config(None, [*words[:2], "federation.schema=age"])


def test_settings_without_a_schema_are_written_as_before():
    text = config_to_toml(Config())
    assert "schema" not in text and "max-records" not in text
