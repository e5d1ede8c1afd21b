"""Every reader of what others wrote or sent."""

from fuzz_files import FILE_READERS
from fuzz_folders import FOLDER_READERS
from fuzz_messages import MESSAGE_READERS
from fuzz_run import Reader

__all__ = ["READERS"]

READERS: tuple[Reader, ...] = (*FILE_READERS, *FOLDER_READERS, *MESSAGE_READERS)
