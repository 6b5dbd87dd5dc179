"""One GPU per job, on a machine with several: Snakemake counts the GPUs that jobs use, but does not say which is whose.

Every GPU has a file, and who has locked it (flock) has the GPU. The system frees a lock however its process ends.
"""

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

from unike_lib.types import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 0.5

_log = logging.getLogger(__name__)


def hold_gpu(folder: Path | None = None) -> str | None:
    """Let this process see one GPU that no other job of this user has; call it before torch is imported.

    The GPU is held until the process ends, because only then its memory is free. Where all are taken, this waits. Under
    SLURM a job that was given one GPU (or none by number) is left as it is; several are shared out as elsewhere.

    Args:
        folder: where the locks are; None: in the folder for temporary files, one per user, or one per SLURM job.

    Returns:
        The id as CUDA_VISIBLE_DEVICES now has it; None where SLURM has decided.

    Raises:
        InputError: there is no GPU.
    """
    slurm_job = os.environ.get("SLURM_JOB_ID")
    if slurm_job and os.environ.get(VISIBLE, "").count(",") == 0:
        return None
    gpus = usable_gpus()
    if not gpus:
        raise InputError(
            f"a backbone's device is a GPU, and there is none: {VISIBLE} is {os.environ.get(VISIBLE)!r} (where it is "
            f"None, nvidia-smi was asked); name GPUs in it, or set the backbone's device to cpu"
        )
    if folder is None:
        folder = Path(tempfile.gettempdir(), "-".join(filter(None, ["unike-gpus", str(os.getuid()), slurm_job])))
    folder.mkdir(parents=True, exist_ok=True)
    while (gpu := _first_free(gpus, folder)) is None:
        time.sleep(SECONDS_BETWEEN_TRIES)
    # Numbers of nvidia-smi, not of CUDA's own order (fastest first).
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ[VISIBLE] = gpu
    _log.info("on GPU %s", gpu)
    return gpu


def usable_gpus() -> list[str]:
    """Return the ids of the GPUs that jobs may use: those in CUDA_VISIBLE_DEVICES, or all of the machine."""
    named = os.environ.get(VISIBLE)
    if named is None:
        return [line for line in _ask_driver().split() if line.isdigit()]
    ids = [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    return list(takewhile(lambda gpu: gpu != "-1", ids))  # CUDA's own rule: -1 ends the list


def _ask_driver() -> str:
    """Return what nvidia-smi lists, a number per line; nothing where it is not installed."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _first_free(gpus: list[str], folder: Path) -> str | None:
    """Lock the first GPU that nobody holds and return its id; None if all are held."""
    for gpu in gpus:
        # Never closed here: the lock lasts as long as the process.
        file = os.open(folder / quote(gpu, safe=""), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return gpu
    return None
