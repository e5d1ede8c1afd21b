"""What the engines take for granted of Flower's insides; these fail first when Flower moves."""

import pickle
import subprocess
import sys

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from wardround.errors import WardroundError
from wardround.simulations.engines.flower_internals import (
    APP_RAISED,
    RUN_ID,
    SERVER_NODE_ID,
    check_flower_version,
    copy_of,
    empty_run,
    give_id,
    take_identity,
)


def test_installed_flower_is_the_pinned_one() -> None:
    check_flower_version()


@pytest.mark.parametrize("installed", ["1.40.0", "1.42.0", "2.41.0", "0.1"])
def test_another_minor_version_is_refused(installed: str) -> None:
    with pytest.raises(WardroundError, match=rf"flwr {installed} is installed.*pip install"):
        check_flower_version(installed)


def test_process_can_build_messages_only_with_an_identity() -> None:
    """In a process of its own, as an identity can't be taken back."""
    program = """
from flwr.app import Message, RecordDict
from wardround.simulations.engines.flower_internals import take_identity
try:
    Message(RecordDict(), 5, "train")
except RuntimeError as error:
    print("refused:", error)
take_identity()
print(Message(RecordDict(), 5, "train").metadata.src_node_id)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "refused: TaskIdentity" in result.stdout
    assert result.stdout.splitlines()[-1] == str(SERVER_NODE_ID)


def test_identity_that_is_there_is_left_alone() -> None:
    take_identity()
    before = TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id
    take_identity()
    assert (TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id) == before


def test_id_reaches_the_reply() -> None:
    take_identity()
    message = give_id(Message(RecordDict(), 5, "train", group_id="round-3"), "message-1")
    reply = Message(RecordDict(), reply_to=message)
    assert reply.metadata.reply_to_message_id == "message-1"
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (5, SERVER_NODE_ID)
    assert reply.metadata.group_id == "round-3"
    error = Message(Error(APP_RAISED, "because"), reply_to=message)
    assert (error.error.code, error.metadata.reply_to_message_id) == (2, "message-1")


def test_copy_keeps_the_metadata_apart() -> None:
    take_identity()
    message = give_id(Message(RecordDict(), 5, "train"), "message-1")
    copy = copy_of(message, RecordDict({"config": ConfigRecord({"x": 1})}))
    give_id(copy, "message-2")
    assert (message.metadata.message_id, copy.metadata.message_id) == ("message-1", "message-2")
    assert copy.content["config"]["x"] == 1
    assert len(message.content) == 0
    assert pickle.loads(pickle.dumps(copy)).metadata == copy.metadata


def test_run_has_the_id_of_the_messages() -> None:
    assert empty_run().run_id == RUN_ID
