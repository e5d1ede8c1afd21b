"""How much of a GPU's memory one of several processes on it may take, so that together they don't run it out.

Ray counts shares of a GPU and holds nobody to them. Left out on purpose: time on the GPU, which its driver shares out.
"""

import math

__all__ = ["keep_to_share", "memory_share", "share_of_each"]

_CONTEXT_BYTES = 2**30
"""What a process holds on a GPU beside its tensors, at most: the driver's context and the libraries' workspaces."""


def memory_share(share: float, total_bytes: int) -> float:
    """Return the part of a GPU's memory that a process with a share of it may fill with tensors, in (0, 1].

    >>> memory_share(0.25, 80 * 2**30)
    0.2375
    >>> memory_share(1.0, 80 * 2**30)
    1.0

    Args:
        share: of the GPU, > 0; a process with one or more whole ones has them to itself.
        total_bytes: that the GPU has, > 0.
    """
    if share >= 1:
        return 1.0
    # On a GPU too small for so many, half of each share is still for tensors, and who passes it is told.
    return max(share - _CONTEXT_BYTES / total_bytes, share / 2)


def share_of_each(num_workers: int, num_gpus: int) -> float:
    """Return the share of a GPU for each of several processes, of which none is to have two; 0.0 where there is none.

    >>> share_of_each(4, 2), share_of_each(3, 2), share_of_each(1, 2)
    (0.5, 0.5, 1.0)
    """
    return 1 / math.ceil(num_workers / num_gpus) if num_gpus else 0.0


def keep_to_share(share: float) -> None:
    """Hold this process to its share of the GPU that it sees; without a share, or a GPU, do nothing.

    What then asks for more raises torch.cuda.OutOfMemoryError in this process, and leaves the others alone.
    """
    if share <= 0:
        return
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_share(share, total), 0)
