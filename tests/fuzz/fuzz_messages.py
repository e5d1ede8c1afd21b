"""Readers of messages: arrays, assignments, replies and both sides of a secure sum."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from fuzz_mutations import mutated_bytes, mutated_record
from fuzz_run import Reader, Ways
from numpy.lib import format as npy_format
from round_driver import Round
from small_runs import ASSIGNMENT, small_config

from wardround import wire
from wardround.clients.assignments import Part, check_assignment
from wardround.config import Config
from wardround.errors import ProtocolError
from wardround.exact_sums import accumulate
from wardround.privacy.executions import check_execution
from wardround.rounds import (
    Evaluation,
    Execution,
    HospitalProfile,
    ProfileMeasures,
    TrainingMeasures,
)
from wardround.secagg import Terms, faults, hospital, server
from wardround.secagg.members import advertised_text, members_of
from wardround.secagg.records import (
    STAGES,
    Advertisement,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    ShareRequest,
    Shares,
    UnmaskRequest,
    UnmaskShares,
)
from wardround.server.plan.planning import plan_federation
from wardround.simulations.engines.flower_internals import take_identity

__all__ = ["MESSAGE_READERS"]

MEBI = 2**20
PROFILE = HospitalProfile(
    hospital_id="hospital-01", num_train=152, task="classification", input_shape=(30,), num_outputs=2
)
MEASURES = ProfileMeasures(num_test=38, fingerprint="0" * 64, majority_score=0.6)
EXECUTION = Execution(
    hospital_id="hospital-01", round_number=3, sample_rate=0.1, num_steps=2, num_noise_draws=2, noise_multiplier=1.5
)
TRAINED = TrainingMeasures(num_examples=152, num_scrubbed=0, loss=0.7, seconds=0.1)
EVALUATION = Evaluation(hospital_id="hospital-01", num_examples=38, loss=0.7, score=0.6, auc=float("nan"))


def _message(**records: Any) -> Message:
    take_identity()
    return Message(RecordDict(records), dst_node_id=1, message_type="train")


def _config() -> Config:
    return small_config(privacy={"noise-multiplier": 1.5, "max-grad-norm": 1.0})


def _assignments(_: Path) -> Ways:
    names = tuple(f"hospital-{number:02d}" for number in (1, 2, 3))
    part = Part(config=_config(), hospital_id=names[0], num_train=152, names=names, num_parameters=62, num_records=456)
    values = wire.record_values(ASSIGNMENT)

    def read(record: ConfigRecord) -> None:
        check_assignment(wire.assignment_of(_message(assignment=record)), part)

    return ConfigRecord(dict(values)), lambda random: mutated_record(random, values, ConfigRecord), read


def _profiles(_: Path) -> Ways:
    values, config = wire.record_values(PROFILE) | wire.record_values(MEASURES), _config()
    other = replace(PROFILE, hospital_id="hospital-02")

    def read(record: ConfigRecord) -> None:
        reply = _message(profile=record)
        profile, measures = wire.read_profile(reply), wire.read_measures(ProfileMeasures, reply)
        if profile.hospital_id == other.hospital_id or measures is None:
            raise ProtocolError("the server would not take it: it is another's, or measured nothing")
        plan_federation(
            config, [profile, other], 62, measures={profile.hospital_id: measures, other.hospital_id: MEASURES}
        )

    return ConfigRecord(dict(values)), lambda random: mutated_record(random, values, ConfigRecord), read


def _executions(_: Path) -> Ways:
    values = wire.record_values(EXECUTION) | wire.record_values(TRAINED)
    del values["hospital-id"]

    def read(record: MetricRecord) -> None:
        reply = _message(metrics=record)
        check_execution(ASSIGNMENT, wire.read_metrics(Execution, reply, "hospital-01"))
        wire.read_measures(TrainingMeasures, reply)

    return MetricRecord(dict(values)), lambda random: mutated_record(random, values, MetricRecord), read


def _evaluations(_: Path) -> Ways:
    values = wire.record_values(EVALUATION)
    del values["hospital-id"]

    def read(record: MetricRecord) -> None:
        wire.read_metrics(Evaluation, _message(metrics=record), "hospital-01")

    return MetricRecord(dict(values)), lambda random: mutated_record(random, values, MetricRecord), read


_DTYPES = (
    "<f4",
    "<f8",
    ">f8",
    "<f2",
    "|u1",
    "<u4",
    "|b1",
    "<U9",
    "|S5",
    "|O",
    "<M8[s]",
    "<c16",
    "V8",
    "[('a', '<f8')]",
    "x",
)
_SHAPES = (
    "(3, 4)",
    "(2147483648, 4)",
    "()",
    "(0,)",
    "(-1,)",
    "(4, 3)",
    "(12,)",
    "(9223372036854775807, 9)",
    "(3, 4",
    "[3, 4]",
    "(1,)" * 50,
    "(" + "1," * 40 + ")",
    "(3.0, 4)",
    "'a'",
)


def _header(random: Random) -> bytes:
    """Return an array's bytes whose header says anything: 32 GiB, other orders, objects, other versions."""
    order = random.choice(("False", "True", "0"))
    text = f"{{'descr': '{random.choice(_DTYPES)}', 'fortran_order': {order}, 'shape': {random.choice(_SHAPES)}, }}"
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = 2 if version == b"\x01\x00" else 4
    line = text.encode().ljust(random.choice((118, 116, 54))) + b"\n"
    length = random.choice((len(line), len(line), len(line) + 1, 0, 2 ** (8 * size) - 1)).to_bytes(size, "little")
    return b"\x93NUMPY" + version + length + line + random.randbytes(random.choice((48, 96, 12, 0)))


def _arrays(_: Path) -> Ways:
    def saved(array: Any, version: tuple[int, int] | None = (1, 0)) -> bytes:
        stream = BytesIO()
        npy_format.write_array(stream, array, version=version, allow_pickle=True)
        return stream.getvalue()

    good = saved(np.arange(12, dtype=np.float32).reshape(3, 4))
    others = [
        saved(np.asfortranarray(np.arange(12.0).reshape(3, 4))),
        saved(np.array([None, "a"], dtype=object)),
        *(saved(np.zeros(3), version) for version in ((2, 0), (3, 0))),
        *(saved(np.zeros(3, dtype)) for dtype in ("U5", "S3", "M8[s]", "c16", "?", ">f4", [("a", "f8")])),
    ]

    def draw(random: Random) -> Any:
        kind = random.random()
        data = random.choice((good, good, *others)) if kind < 0.3 else mutated_bytes(random, good)
        if kind > 0.7:
            data = _header(random)
        if random.random() < 0.5:
            return data, "float32", (3, 4), "numpy.ndarray"
        dtype = random.choice(("float32", "float32", "float32", "float64", "object", "", "x", "<U5", "float32" * 99))
        shape = random.choice(((3, 4), (3, 4), (3, 4), (12,), (), (2**31, 4), (-1,), (2**62, 2**62), (0, 2**62)))
        return data, dtype, shape, random.choice(("numpy.ndarray",) * 9 + ("", "torch", "x" * 5000))

    def read(case: Any) -> None:
        data, dtype, shape, stype = case
        record = ArrayRecord({"a": Array(dtype=dtype, shape=shape, stype=stype, data=data)})
        accumulate({}, wire.arrays_of(record), 0.5)

    return (good, "float32", (3, 4), "numpy.ndarray"), draw, read


_REQUESTS = {"share": ShareRequest, "mask": MaskRequest, "confirm": ConfirmRequest, "unmask": UnmaskRequest}


def _rounds() -> dict[str, Round]:
    return {stage: Round(4, 3, 1).play(stage) for stage in STAGES}


def _requests(_: Path) -> Ways:
    """What a hospital is asked in the five stages, by a server that says anything."""
    before = _rounds()
    told = {
        "advertise": before["advertise"].terms,
        "share": server.share_request(before["advertise"].terms, before["advertise"].ads),
        "mask": server.mask_requests(before["share"].members, before["share"].shares)["h00"],
        "confirm": server.confirm_request(
            before["mask"].members, list(before["mask"].shares), list(before["mask"].masked)
        ),
        "unmask": server.unmask_request(
            before["confirm"].members, before["confirm"].confirm_request, before["confirm"].confirmations
        ),
    }
    values = {stage: wire.record_values(record) for stage, record in told.items()}

    def draw(random: Random) -> Any:
        stage = random.choice(STAGES)
        return stage, mutated_record(random, values[stage], ConfigRecord)

    def read(case: Any) -> None:
        stage, record = case
        if stage == "advertise":
            hospital.advertise(before[stage].sites["h00"], wire.read_record(Terms, record), 0)
            return
        round_ = before[STAGES[STAGES.index(stage) - 1]]
        more = {"model_digest": round_.terms.model_digest} if stage == "mask" else {}
        answer: Callable[..., Any] = getattr(hospital, stage)
        answer(
            round_.sites["h00"],
            round_.terms,
            round_.memories["h00"],
            wire.read_record(_REQUESTS[stage], record),
            **more,
        )

    return ("share", ConfigRecord(dict(values["share"]))), draw, read


def _replies(_: Path) -> Ways:
    """What the server is answered in the stages, by a hospital that says anything."""
    round_ = Round(4, 3, 1).play()
    told: dict[str, Any] = {
        "advertise": round_.ads[0],
        "share": round_.shares["h00"],
        "confirm": round_.confirmations["h00"],
        "unmask": round_.replies["h00"],
    }
    values = {stage: wire.record_values(record) for stage, record in told.items()}
    commitments = {name: shares.commitment for name, shares in round_.shares.items()}

    def advertised(record: ConfigRecord) -> None:
        ad = wire.read_record(Advertisement, record)
        advertised_text(round_.terms.session, ad.name, ad.sealing_key, ad.masking_key)
        members_of(round_.terms, server.share_request(round_.terms, [ad, *round_.ads[1:]]))

    def shared(record: ConfigRecord) -> None:
        reply = wire.read_record(Shares, record)
        faults.check_shares(round_.members, "h00", reply)
        server.mask_requests(round_.members, round_.shares | {"h00": reply})

    def confirmed(record: ConfigRecord) -> None:
        confirmations = round_.confirmations | {"h00": wire.read_record(Confirmation, record)}
        server.unmask_request(round_.members, round_.confirm_request, confirmations)

    def unmasked(record: ConfigRecord) -> None:
        replies = round_.replies | {"h00": wire.read_record(UnmaskShares, record)}
        server.take_off_masks(np.zeros(5, np.uint32), round_.members, round_.unmask_request, commitments, replies)

    answers = {"advertise": advertised, "share": shared, "confirm": confirmed, "unmask": unmasked}

    def draw(random: Random) -> Any:
        stage = random.choice(list(values))
        return stage, mutated_record(random, values[stage], ConfigRecord)

    return ("share", ConfigRecord(dict(values["share"]))), draw, lambda case: answers[case[0]](case[1])


MESSAGE_READERS: Iterable[Reader] = (
    Reader(name="arrays (npy)", most_bytes=1 * MEBI, prepare=_arrays),
    Reader(name="assignments", most_bytes=1 * MEBI, prepare=_assignments),
    Reader(name="profiles", most_bytes=16 * MEBI, prepare=_profiles),
    Reader(name="executions", most_bytes=1 * MEBI, prepare=_executions),
    Reader(name="evaluations", most_bytes=1 * MEBI, prepare=_evaluations),
    Reader(name="secure sum, at a hospital", most_bytes=1 * MEBI, prepare=_requests),
    Reader(name="secure sum, at the server", most_bytes=1 * MEBI, prepare=_replies),
)
