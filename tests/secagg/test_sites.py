"""A site's files: keys that only their owner reads and nothing overwrites, and rosters that must fit them."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from wardround.errors import ConfigError
from wardround.secagg import Roster, Site, new_site_key, read_site, simulated_site, write_roster
from wardround.secagg.keys import verify_key

PEM = (Encoding.PEM, PrivateFormat.PKCS8)


@pytest.fixture
def files(tmp_path):
    """Return the folder of two sites with keys and a roster."""
    keys = {name: new_site_key(tmp_path / f"{name}.pem") for name in ("north", "süd")}
    write_roster(tmp_path / "roster.json", roster_of(keys))
    return tmp_path


def roster_of(keys, **changes):
    values = {"federation": "trial", "verify_keys": keys, "min_survivors": 3, "max_colluding": 1}
    return Roster(**{**values, **changes})


def test_what_was_written_is_read(files):
    for name in ("north", "süd"):
        site = read_site(name, files / f"{name}.pem", files / "roster.json")
        assert site.name == name
        assert site.roster.verify_keys[name] == verify_key(site.signing_key)
        assert site.roster == roster_of(site.roster.verify_keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(files, mode):
    (files / "north.pem").chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o} must be 0600 or less, .* chmod 600"):
        read_site("north", files / "north.pem", files / "roster.json")


def test_a_key_file_is_its_owners_and_is_never_overwritten(files):
    path = files / "north.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"no site key was written to .*north.pem: File exists; choose another path"):
        new_site_key(path)
    assert path.read_bytes() == before
    (files / "link.pem").symlink_to(files / "elsewhere.pem")
    with pytest.raises(ConfigError, match="File exists"):
        new_site_key(files / "link.pem")
    assert not (files / "elsewhere.pem").exists()
    with pytest.raises(ConfigError, match=r"no site key was written to .*: Not a directory"):
        new_site_key(files / "north.pem" / "north.pem")


def test_the_folder_that_is_made_for_a_key_is_its_owners(files):
    new_site_key(files / "keys" / "north.pem")
    site = Site(
        name="north", signing_key=bytes(32), claims=files / "claims", roster=roster_of({"north": verify_key(bytes(32))})
    )
    site.claim(bytes(32), "advertise")
    modes = [stat.S_IMODE((files / name).stat().st_mode) for name in ("keys", "keys/north.pem", "claims")]
    assert modes == [0o700, 0o600, 0o700]
    assert {stat.S_IMODE(mark.stat().st_mode) for mark in (files / "claims").iterdir()} == {0o600}


def test_every_new_key_is_another(files):
    assert len({new_site_key(files / f"{number}.pem") for number in range(5)}) == 5


def test_keys_that_can_not_be_read(files):
    key = Ed25519PrivateKey.generate()
    broken = {
        "missing": None,
        "empty": b"",
        "binary": bytes(range(256)),
        "cut": (files / "north.pem").read_bytes()[:60],
        "locked": key.private_bytes(*PEM, BestAvailableEncryption(b"password")),
        "public": b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        "unknown": b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDKmVwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        b"-----END PRIVATE KEY-----\n",
    }
    for name, text in broken.items():
        path = files / f"broken-{name}.pem"
        if text is not None:
            path.write_bytes(text)
        with pytest.raises(
            ConfigError, match=f"can't read the site key .*broken-{name}.pem: .*; make one with new_site"
        ):
            read_site("north", path, files / "roster.json")
    (files / "rsa.pem").write_bytes(generate_private_key(65537, 2048).private_bytes(*PEM, NoEncryption()))
    with pytest.raises(ConfigError, match=r"the site key .*rsa.pem is no Ed25519 key: make one with new_site_key"):
        read_site("north", files / "rsa.pem", files / "roster.json")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"federation"', '"name"', "the roster .* lacks federation\\): write it with write_roster"),
        ('"min-survivors"', '"min"', "the roster .* lacks min-survivors"),
        ('"max-colluding"', '"max"', "the roster .* lacks max-colluding"),
        ('"sites"', '"others"', "the roster .* lacks sites"),
        ('"min-survivors": 3', '"min-survivors": 3.9', "can't read the roster .*3.9 is no whole number"),
        ('"max-colluding": 1', '"max-colluding": true', "can't read the roster .*True is no whole number"),
        ('"min-survivors": 3', '"min-survivors": "3"', "can't read the roster .*'3' is no whole number"),
        ('"min-survivors": 3', '"min-survivors": 1', "min-survivors = 1 must be >= 2 with secure aggregation"),
        (
            '"max-colluding": 1',
            '"max-colluding": 2',
            "max-colluding = 2 must be >= 0 and <= 1, so that at least two honest",
        ),
        ('"sites": {', '"sites": {"west": 5,', "can't read the roster"),
        ('"sites": {', '"sites": {"west": "zz",', "can't read the roster .*non-hexadecimal"),
        ('"sites": {', '"sites": {"west": "abcd",', r"keys must be 32 bytes each and all different \(west is not\)"),
        ('"sites": {', '"sites": ', "can't read the roster"),
        ('"sites": {', '"sites": 7, "more": {', "can't read the roster"),
        ('"min-survivors": 3', '"min-survivors": 3, "min-survivors": 2', "can't read .*min-survivors is there twice"),
    ],
)
def test_rosters_that_can_not_be_read(files, old, new, words):
    path = files / "roster.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_site("north", files / "north.pem", path)


def test_a_missing_roster_or_one_that_is_no_text(files):
    with pytest.raises(ConfigError, match=r"can't read the roster .*none.json .*: write it with write_roster"):
        read_site("north", files / "north.pem", files / "none.json")
    (files / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"can't read the roster .*binary.json"):
        read_site("north", files / "north.pem", files / "binary.json")


@pytest.mark.parametrize(("name", "key"), [("north", "süd"), ("west", "north")])
def test_a_key_must_be_the_one_that_the_roster_has(files, name, key):
    with pytest.raises(ConfigError, match=f"site {name}'s key is not the one that the roster has for it: use the key"):
        read_site(name, files / f"{key}.pem", files / "roster.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_survivors": 1}, "min-survivors = 1 must be >= 2"),
        ({"min_survivors": 2, "max_colluding": 1}, "max-colluding = 1 must be >= 0 and <= 0"),
        ({"max_colluding": -1}, "max-colluding = -1 must be >= 0 and <= 1"),
        (
            {"verify_keys": {"a": bytes(32), "b": bytes(32)}},
            "the roster's keys must be 32 bytes each and all different: ",
        ),
        ({"verify_keys": {"a": bytes(31)}}, r"the roster's keys must be 32 bytes each and all different \(a is not\)"),
    ],
)
def test_rosters_out_of_range(changes, words):
    with pytest.raises(ConfigError, match=words):
        roster_of({"a": bytes(32)}, **changes)


def test_a_site_does_not_show_its_key(files):
    site = read_site("north", files / "north.pem", files / "roster.json")
    assert repr(site) == str(site) == "Site(name='north', federation='trial')"
    assert site.signing_key.hex() not in repr([site])


def test_simulated_sites_follow_from_the_seed_and_say_so():
    names = ("a", "b", "c")
    sites = [simulated_site(seed, name, names, min_survivors=2, max_colluding=0) for seed in (1, 2) for name in names]
    assert len({site.signing_key for site in sites}) == 6
    assert {site.roster.federation for site in sites} == {"simulated"}
    again = simulated_site(1, "a", list(names), min_survivors=2, max_colluding=0)
    assert again.signing_key == sites[0].signing_key
    with pytest.raises(ConfigError, match="site d's key is not the one that the roster has"):
        simulated_site(1, "d", names, min_survivors=2, max_colluding=0)
    with pytest.raises(ConfigError, match="site a's key is not the one"):
        Site(name="a", signing_key=sites[1].signing_key, roster=sites[0].roster)
