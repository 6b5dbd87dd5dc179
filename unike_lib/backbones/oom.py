"""What a process needs in memory, and what to do when a pass does not fit, said in one line."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from unike_lib.backbones.folder import CPU_MESSAGE
from unike_lib.types import InputError


def peak_mb(device: torch.device) -> float:
    """Return the most memory that the process held so far, in MiB: of a GPU, or main memory (Linux counts KiB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@contextmanager
def oom_as_input_error(rows: Tensor) -> Iterator[None]:
    """Say which batch did not fit, and which setting makes it smaller.

    Args:
        rows: something of the pass, on its device: [row, token, ...], or [row] where tokens are not known.

    Raises:
        InputError: torch ran out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and CPU_MESSAGE not in str(error):
            raise
        tokens = f" of {rows.shape[1]} tokens" if rows.ndim > 1 else ""
        raise InputError(
            f"out of memory on {rows.device} in a pass of {len(rows)} rows{tokens}: lower evaluation.sessions (while "
            "an editor is trained: its batch or rows), or take a dtype of half the size for the backbone"
        ) from None
