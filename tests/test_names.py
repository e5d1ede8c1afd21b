"""Names that reach paths, CSV cells, terminals and pages."""

import pytest

from wardround.errors import ConfigError, DataError, ProtocolError
from wardround.names import check_label, check_name


@pytest.mark.parametrize(
    "name", ["hospital-01", "cleveland", "va-long-beach", "7", "St. Mary's (north)", "Charité", "हिन्दी", "A & B, C"]
)
def test_names_of_hospitals_pass(name: str) -> None:
    check_name(name, "hospital")
    check_label(name, "class")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "'' must have 1 to 100 characters"),
        ("x" * 101, r"\(103 characters\) must have 1 to 100 characters"),
        ("=1+1", "must begin with a letter or a digit"),
        ("+1", "must begin with a letter or a digit"),
        ("-1", "must begin with a letter or a digit"),
        ("@SUM(1)", "must begin with a letter or a digit"),
        ("..", "must begin with a letter or a digit"),
        ("../north", "must begin with a letter or a digit"),
        (" north", "must begin with a letter or a digit"),
        ("north ", "ends with a space"),
        ("north/south", "has '/', and may have letters"),
        ("north\\south", "may have letters"),
        ("north\x1b[2J", r"has '\\x1b'"),
        ("north\nsouth", r"has '\\n'"),
        ("north\x00", r"has '\\x00'"),
        ("north\u202egnp", r"has '\\u202e'"),
        ("north\u200b", r"has '\\u200b'"),
        ("[red]north", "must begin with a letter or a digit"),
        ("north[/red]", r"has '\['"),
        ("<b>", "must begin with a letter or a digit"),
        ("a=cmd|' /C calc'!A0", "has '='"),
        (7, "7 must have 1 to 100 characters"),
    ],
)
def test_names_that_do_harm_somewhere_are_refused(name: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=f"^hospital .*{words}") as caught:
        check_name(name, "hospital", error=ProtocolError)
    assert str(caught.value).isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize("label", ["lactate (mmol/l)", "<10", "+", "age=60", "sex male", "≥ 3 ULN"])
def test_labels_are_whatever_can_be_read(label: str) -> None:
    check_label(label, "level")


@pytest.mark.parametrize("label", ["", "x" * 201, "a\x07", "a\u2066b", "a\u2028b", "\ufeffage", "a\rb"])
def test_labels_that_can_not_be_seen_are_refused(label: str) -> None:
    with pytest.raises(DataError, match=r"^column .*: rename it$"):
        check_label(label, "column")
    with pytest.raises(ConfigError):
        check_label(label, "column", error=ConfigError)
