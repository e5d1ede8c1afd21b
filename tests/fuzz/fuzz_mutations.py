"""Inputs that nobody meant: bytes, texts and nested values, each a few changes away from one that is read."""

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ["mutated_bytes", "mutated_record", "mutated_text", "mutated_toml", "mutated_value"]

_WORDS = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"'", b"{", b"}", b"[" * 40, b"]", b",", b";", b"="),
    *(
        b"-1",
        b"0",
        b"1e999",
        b"nan",
        b"NaN",
        b"Infinity",
        b"9" * 30,
        b"9" * 5000,
        b"true",
        b"null",
        b"\\ud800",
        b"\xe2\x80\xae",
    ),
    *(
        b"[" * 3000,
        b'{"a":' * 3000,
        b"%s%n",
        b"../../etc/passwd",
        b"<script>",
        b"=1+1",
        b"\xc3\x28",
        b"1979-05-27T07:32:00Z",
    ),
)
_ATOMS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**400),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        " ",
        "a",
        "no",
        "1",
        "nan",
        "x" * 10_000,
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "=1+1",
        "../..",
        "hospital-01",
    ),
    *([], {}, [[]], [None], [0] * 1000, {"": 0}, {"a": {"b": []}}, [1, "a"], ["a", "a"], [float("nan")]),
)
_TOML_VALUES = (
    *(
        "0",
        "-1",
        "1e999",
        "nan",
        "inf",
        "-inf",
        '""',
        '"a"',
        "'b'",
        "true",
        "[]",
        "[[]]",
        "{}",
        "[1, 'a']",
        "[nan]",
        "{a = 1}",
    ),
    *(
        "0x" + "f" * 6000,
        "1979-05-27",
        "07:32:00",
        "1979-05-27T07:32:00Z",
        "0x7fffffffffffffff",
        "9" * 400,
        "9" * 5000,
        "0b2",
        "1_000",
        "+1",
    ),
    *(
        '"x\\u202e"',
        '"' + "x" * 5000 + '"',
        '"\\u0000"',
        "[" * 500 + "]" * 500,
        "[" * 3000,
        "{a=" * 2000,
        '"""',
        "0.1",
        "2",
        "1000000",
    ),
)


def mutated_bytes(random: Random, data: bytes, *, most_changes: int = 4) -> bytes:
    """Return the data with a few bytes flipped, inserted, removed, doubled or cut off; rarely, something else whole."""
    if random.random() < 0.03:
        return random.randbytes(random.choice((0, 1, 8, 100, 3000)))
    changed = bytearray(data)
    for _ in range(random.randint(1, most_changes)):
        place = random.randint(0, len(changed))
        length = min(len(changed) - place, random.choice((1, 1, 2, 4, 8, 40, 400)))
        part = changed[place : place + length]
        kind = random.randrange(7)
        if kind == 0 and part:
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[place : place + length] = random.randbytes(length)
        elif kind == 2:
            changed[place:place] = random.choice(_WORDS)
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = part * random.choice((1, 1, 3))
        elif kind == 5:
            changed[place : place + length] = random.choice(_WORDS)
        elif random.random() < 0.2:
            del changed[place:]
    return bytes(changed)


def mutated_text(random: Random, text: str) -> bytes:
    """Return a text as bytes, changed; mostly still UTF-8, so that what comes after decoding is met too."""
    data = mutated_bytes(random, text.encode())
    return data if random.random() < 0.3 else data.decode(errors="ignore").encode()


def mutated_toml(random: Random, text: str) -> bytes:
    """Return a TOML text with values exchanged for others, lines moved and keys renamed; or changed byte by byte."""
    if random.random() < 0.3:
        return mutated_text(random, text)
    lines = text.splitlines()
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        key, equals, _ = lines[place].partition("=")
        kind = random.randrange(5)
        if kind <= 2 and equals:
            lines[place] = f"{key}= {random.choice(_TOML_VALUES)}"
        elif kind == 3:
            lines.insert(random.randrange(len(lines)), random.choice(lines))
        else:
            lines[place] = random.choice(
                ("[x]", "[[training]]", "a.b.c = 1", "= 1", f"{key.strip()}.a = 2", "", "[privacy.x]")
            )
    return "\n".join(lines).encode()


def mutated_value(random: Random, value: Any, atoms: Sequence[Any] = _ATOMS) -> Any:
    """Return a deep copy of a nested value with a few of its parts exchanged, removed, added or moved."""
    changed = [copy.deepcopy(value)]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        holder, key = _place(random, changed)
        kind = random.randrange(6)
        if kind <= 2:
            holder[key] = copy.deepcopy(random.choice(atoms))
        elif kind == 3 and holder is not changed:
            del holder[key]
        elif kind == 4 and isinstance(holder, dict):
            holder[random.choice(("", "x", str(key) + "s", "__class__"))] = holder[key]
        else:
            other, other_key = _place(random, changed)
            holder[key] = copy.deepcopy(other[other_key])
    return changed[0]


def mutated_record(random: Random, values: dict[str, Any], make: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a Flower record of changed values; those that Flower itself refuses to build can't travel."""
    while True:
        changed = {key: _near(random, value) if random.random() < 0.25 else value for key, value in values.items()}
        if random.random() < 0.1 and changed:
            del changed[random.choice(list(changed))]
        try:
            return make(changed)
        except (TypeError, ValueError, OverflowError):
            continue


def _near(random: Random, value: Any) -> Any:
    """Return a value that a record may have instead: of another type, another length, or a few bits away."""
    if random.random() < 0.4:
        return random.choice(
            (*(atom for atom in _ATOMS if atom is not None), b"", b"\x00" * 32, random.randbytes(33), [b""], [0.5])
        )
    if isinstance(value, bytes):
        return mutated_bytes(random, value)
    if isinstance(value, list) and value:
        kind, place = random.randrange(5), random.randrange(len(value))
        if kind == 0:
            return value[:place]
        if kind == 1:
            return [*value, value[place]]
        if kind == 2:
            return random.sample(value, len(value))
        return [_near(random, part) if index == place else part for index, part in enumerate(value)]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, -value, value * 2**20, float(value), str(value)))
    if isinstance(value, float):
        return random.choice((value * 2, -value, value * 1e300, 1 / value if value else 1.0, value // 1))
    return mutated_bytes(random, str(value).encode()).decode(errors="ignore")


def _place(random: Random, holder: Any) -> tuple[Any, Any]:
    """Return a container inside the holder, and one of its keys."""
    key: Any = 0
    while True:
        inside = holder[key]
        if not isinstance(inside, dict | list) or not inside or random.random() < 0.25:
            return holder, key
        holder = inside
        key = random.choice(list(inside)) if isinstance(inside, dict) else random.randrange(len(inside))
