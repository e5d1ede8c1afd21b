"""Who is there: every node of a grid is asked, and what real sites say is held to the roster and to the agreed schema.

A real site that is absent, fails or says what can't be is left out by name; simulated hospitals fail for a reason that
somebody should see, and end the run. What is left out on purpose: what hospitals do in a round (see `hospitals`).
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from wardround import wire
from wardround.config import Config
from wardround.errors import CohortError, ConfigError, ProtocolError, WardroundError
from wardround.identity import agreed_digest, agreed_text
from wardround.rounds import HospitalProfile, ProfileMeasures
from wardround.secagg import Roster
from wardround.server.round.hospitals import HospitalLink
from wardround.strategies.replies import answered, answers_by_node, with_time_limit

__all__ = ["agreed_profile", "check_site_profile", "connect", "connect_sites"]

_log = logging.getLogger(__name__)
_AGREED = ("task", "input_shape", "num_outputs", "own_statistics")


def connect(grid: Grid) -> HospitalLink:
    """Ask every node of the grid which simulated hospital it is.

    Raises:
        CohortError: no node is there, or two are the same hospital.
        ProtocolError: a reply is none, or it measured nothing.
        WardroundError: a hospital could not answer.
    """
    profiles: dict[int, HospitalProfile] = {}
    measures: dict[str, ProfileMeasures] = {}
    for reply in grid.send_and_receive(_queries(grid)):
        if reply.has_error():
            raise WardroundError(f"node {reply.metadata.src_node_id} can't say who it is: {reply.error.reason}")
        profile = wire.read_profile(reply)
        if profile.hospital_id in measures:
            raise CohortError(f"two nodes are hospital {profile.hospital_id}: give each its own partition-id")
        measured = wire.read_measures(ProfileMeasures, reply)
        if measured is None:
            raise ProtocolError(
                f"hospital {profile.hospital_id} sends what a real site sends, and the server has no roster of sites: "
                "give it theirs (roster, in the run config), or start the node without anything of a site to simulate "
                "it"
            )
        measures[profile.hospital_id] = measured
        profiles[reply.metadata.src_node_id] = profile
    return _link(grid, profiles, measures=measures)


def connect_sites(grid: Grid, config: Config, roster: Roster, timeout_seconds: float | None = None) -> HospitalLink:
    """Ask every node of the grid which real site it is.

    Sites hold their own settings to the server's, whose schema and roster their profiles are held to. A site's reply is
    waited for so long, and then it is left out; None waits for ever.

    Raises:
        CohortError: no node is there, or too few sites are left.
    """
    messages = _queries(grid, agreed_text(config), agreed_digest(config))
    replies = grid.send_and_receive(with_time_limit(messages, timeout_seconds), timeout=timeout_seconds)
    profiles, left_out = _site_profiles(messages, replies, tuple(roster.verify_keys), config)
    for name, reason in left_out.items():
        _log.warning("%s %s", name, reason)
    return _link(grid, profiles, roster=roster, left_out=left_out, timeout_seconds=timeout_seconds)


def _queries(grid: Grid, *told: Any) -> list[Message]:
    node_ids = sorted(grid.get_node_ids())
    if not node_ids:
        raise CohortError("no hospital is connected: start the nodes first")
    return [wire.profile_query(node_id, *told) for node_id in node_ids]


def _link(grid: Grid, profiles: Mapping[int, HospitalProfile], **known: Any) -> HospitalLink:
    node_of = {profile.hospital_id: node_id for node_id, profile in profiles.items()}
    return HospitalLink(
        grid=grid,
        node_of=node_of,
        name_of={node_id: name for name, node_id in node_of.items()},
        profiles=tuple(sorted(profiles.values(), key=lambda profile: profile.hospital_id)),
        **known,
    )


def agreed_profile(config: Config) -> HospitalProfile:
    """Return the profile of a site with one record, as the schema has it, whatever its name.

    Raises:
        ConfigError: there is no schema.
    """
    schema, target = config.federation.schema, config.federation.target
    if schema is None or target is None:
        raise ConfigError("real sites need a [federation.schema] and a target ([federation] schema): state them")
    return HospitalProfile(
        hospital_id="any site",
        num_train=1,
        task=schema.task(target),
        input_shape=schema.input_shape(target),
        num_outputs=len(schema.class_names(target)) or 1,
    )


def check_site_profile(config: Config, profile: HospitalProfile) -> None:
    """Refuse a site whose records are not those of the schema, or more than any may have.

    Raises:
        ProtocolError: naming the site, the value, and what was agreed on.
    """
    agreed = agreed_profile(config)
    for name in _AGREED:
        told, own = getattr(profile, name), getattr(agreed, name)
        if told != own:
            raise ProtocolError(
                f"site {profile.hospital_id} says {name} = {told}, and the schema makes it {own}: its software or its "
                "schema is another ([federation.schema])"
            )
    most = config.federation.max_records
    for number, what in ((profile.num_train, "training"), (profile.num_scored or 0, "test")):
        if most is not None and number > most:
            raise ProtocolError(
                f"site {profile.hospital_id} says that it has {number} {what} records, which must be <= {most} "
                "([federation] max-records): agree on more, or let it give fewer"
            )


def _site_profiles(
    messages: Sequence[Message], replies: Iterable[Message], names: Collection[str], settings: Config
) -> tuple[dict[int, HospitalProfile], dict[str, str]]:
    """Return what sites say of themselves by node, and why others are left out, by name or else by node.

    Raises:
        CohortError: fewer sites are left than a round needs.
    """
    answers, strange = answers_by_node(messages, replies)
    profiles: dict[int, HospitalProfile] = {}
    left = dict.fromkeys(strange, "")
    for message in messages:
        node_id = message.metadata.dst_node_id
        try:
            profile = wire.read_profile(answered(answers.get(node_id)))
            if profile.hospital_id not in names:
                raise ProtocolError(f"it says that it is {profile.hospital_id}, which is not in the roster")
            if settings.federation.schema is not None:
                check_site_profile(settings, profile)
            profiles[node_id] = profile
        except ProtocolError as error:
            left[f"node {node_id}"] = f"is left out of the run, as it could not say who it is: {error}"
    count = Counter(profile.hospital_id for profile in profiles.values())
    for name in sorted(name for name, number in count.items() if number > 1):
        twins = [node_id for node_id, profile in profiles.items() if profile.hospital_id == name]
        left[name] = (
            f"is left out of the run, as {len(twins)} nodes say that they are it ({', '.join(map(str, twins))}): start "
            "one of them"
        )
        profiles = {node_id: profile for node_id, profile in profiles.items() if node_id not in twins}
    there = {profile.hospital_id for profile in profiles.values()}
    left |= dict.fromkeys(sorted({*names} - there - {*left}), "is left out of the run, as no node said that it is it")
    least = settings.aggregation.min_survivors
    if len(profiles) < least:
        said = "; ".join(f"{name} {reason}" for name, reason in left.items())
        raise CohortError(f"{len(profiles)} sites can take part, and min-survivors = {least} are needed: {said}")
    return profiles, left
