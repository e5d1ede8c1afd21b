"""Secret sharing: any threshold of shares gives the secret, fewer are consistent with every secret."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from round_driver import combined

from wardround.errors import ProtocolError
from wardround.secagg.shamir import PRIME, SHARE_BYTES, split

SECRETS = st.binary(min_size=32, max_size=32)


def lagrange(shares, at):
    """Return the value at a point of the polynomial through the shares; fractions are taken modulo the prime last."""
    total = 0
    for point, value in shares.items():
        weight = Fraction(1)
        for other in shares:
            weight *= 1 if other == point else Fraction(at - other, point - other)
        total += value * weight.numerator * pow(weight.denominator, PRIME - 2, PRIME)
    return total % PRIME


def numbers(shares):
    return {point: int.from_bytes(share, "big") for point, share in shares.items()}


def test_the_field_is_prime_and_the_least_above_every_secret():
    def is_prime(number):  # Miller and Rabin's test with 40 bases
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, number)
            if power not in (1, number - 1) and all(
                (power := power * power % number) != number - 1 for _ in range(twos - 1)
            ):
                return False
        return True

    assert PRIME > 2**256
    assert [step for step in range(1, 298) if is_prime(2**256 + step)] == [PRIME - 2**256]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_threshold_of_shares_gives_the_secret(data):
    secret = data.draw(SECRETS)
    points = data.draw(st.lists(st.integers(1, 2**16), min_size=1, max_size=8, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    shares = split(secret, points, threshold)
    assert set(shares) == set(points)
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}
    for chosen in combinations(points, threshold):
        some = {point: shares[point] for point in chosen}
        assert combined(some, threshold) == secret
        assert lagrange(numbers(some), 0) == int.from_bytes(secret, "big")
    assert combined(shares, threshold) == secret


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_share_less_goes_with_every_secret(data):
    secret, guess = data.draw(SECRETS), data.draw(SECRETS)
    threshold = data.draw(st.integers(2, 8))
    shares = split(secret, range(1, threshold + 1), threshold)
    known = {point: share for point, share in shares.items() if point < threshold}
    with pytest.raises(ProtocolError, match=f"{threshold - 1} shares of it came back, and {threshold} are needed"):
        combined(known, threshold)
    # Exactly one value of the missing share makes the guess true, and it is a share like any other.
    missing = lagrange({0: int.from_bytes(guess, "big"), **numbers(known)}, threshold)
    made = known | {threshold: missing.to_bytes(SHARE_BYTES, "big")}
    assert combined(made, threshold) == guess


def test_shares_of_one_secret_differ_from_time_to_time_but_for_a_threshold_of_1():
    secret = bytes(range(32))
    assert len({split(secret, [1, 2, 3], 2)[1] for _ in range(20)}) == 20
    assert set(split(secret, [1, 2, 3], 1).values()) == {b"\x00" + secret}


def test_coefficients_are_drawn_from_the_whole_field():
    tops = [numbers(split(bytes(32), [1, 2], 2))[1] for _ in range(200)]
    assert max(tops) > PRIME * 0.9 and min(tops) < PRIME * 0.1


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_the_smallest_and_the_largest_secret(secret):
    assert combined(split(secret, [5, 9, 200], 3), 3) == secret


@pytest.mark.parametrize(
    ("secret", "points", "threshold"),
    [
        (bytes(31), [1, 2], 1),
        (bytes(33), [1, 2], 1),
        (bytes(32), [0, 1], 1),
        (bytes(32), [-1, 1], 1),
        (bytes(32), [1, 1], 1),
        (bytes(32), [1, 2], 3),
        (bytes(32), [1, 2], 0),
        (bytes(32), [], 1),
    ],
    ids=str,
)
def test_what_can_not_be_shared(secret, points, threshold):
    with pytest.raises(ProtocolError, match=f"a secret of {len(secret)} bytes for points .* and threshold {threshold}"):
        split(secret, points, threshold)


def test_shares_of_two_secrets_give_none():
    first, second = (split(secret, [1, 2], 2) for secret in (bytes(32), b"\xff" * 32))
    assert combined({1: first[1], 2: second[2]}, 2) not in (bytes(32), b"\xff" * 32)
    above = {1: (2**256).to_bytes(33, "big"), 2: (2**256).to_bytes(33, "big")}
    with pytest.raises(
        ProtocolError, match="2 shares of it came back, and not 2 of them are right: whoever dealt them is at fault"
    ):
        combined(above, 2)
