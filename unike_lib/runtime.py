"""What every job shares: its log, its number of threads, its GPU, and one plain line for an error in the input."""

import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stderr
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol, TextIO

from unike_lib.config import Config, load_config
from unike_lib.gpu_slot import hold_gpu
from unike_lib.io import fingerprint
from unike_lib.types import InputError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
SECONDS_BETWEEN_LINES = "30"
CLEARED_LINE = "\r\x1b[K"  # a terminal's way of erasing the line that the cursor is in

_log = logging.getLogger("unike_lib")


class Job(Protocol):
    """The part of Snakemake's `snakemake` object that is used here."""

    @property
    def rule(self) -> str:
        """Name of the rule."""

    @property
    def wildcards(self) -> Any:
        """Values of the rule's wildcards, in order and by name."""

    @property
    def config(self) -> dict[str, Any]:
        """The merged configuration."""

    @property
    def params(self) -> Any:
        """The parameters that shape the result."""

    @property
    def input(self) -> Any:
        """Paths of the inputs."""

    @property
    def resources(self) -> Any:
        """What the job takes; `gpu`: GPUs."""

    @property
    def log(self) -> Sequence[str]:
        """Paths of the job's logs."""


def job_mark(job: Job) -> str:
    """Return the fingerprint of what a job makes: its rule, its parameters (code included), what its inputs contain.

    Inputs named `images` are left out: a user's picture folder may be too large to be read for every job.
    """
    images = job.input.get("images", ())
    left_out = {images} if isinstance(images, str) else set(images)
    return fingerprint(job.rule, dict(job.params.items()), *(Path(path) for path in job.input if path not in left_out))


class PlainLines(io.TextIOBase):
    """A text stream whose progress bars become plain lines, for logs and for pipes.

    Args:
        streams: where lines go, each with what stands before its lines.
    """

    def __init__(self, streams: Mapping[TextIO, str]) -> None:
        self._streams = dict(streams)
        self._unfinished = ""

    def write(self, text: str) -> int:
        """Pass on whole lines that are not blank; a carriage return ends a line."""
        *lines, self._unfinished = (self._unfinished + text.replace("\r", "\n")).split("\n")
        for line in filter(str.strip, lines):
            for stream, before in self._streams.items():
                stream.write(f"{before}{line.rstrip()}\n")
                stream.flush()
        return len(text)


class Stage:
    """The frame of a workflow script: `with Stage(snakemake) as config:` around its imports and its one call.

    Sets the number of threads and takes a GPU, if the job needs one, before torch is imported; logs to the job's log
    and to stderr, where jobs run side by side and every line and bar says whose it is (bars on a terminal, else plain
    lines); ends the process with exit status 1 after an error: a single line for an InputError, a traceback for any
    other.

    Raises:
        SystemExit: the configuration or an input is wrong, or the stage has a fault.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = ExitStack()

    def __enter__(self) -> Config:
        terminal = sys.stderr
        label = " ".join([self._job.rule, *self._job.wildcards])
        streams: dict[TextIO, str] = {}
        if self._job.log:
            path = Path(self._job.log[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            streams[self._open.enter_context(path.open("w", encoding="utf-8"))] = ""
        plain = PlainLines(streams | {terminal: f"{CLEARED_LINE if terminal.isatty() else ''}[{label}] "})
        if terminal.isatty():
            os.environ.setdefault("TQDM_BAR_FORMAT", f"[{label}] {{l_bar}}{{bar}}{{r_bar}}")
            os.environ.setdefault("TQDM_DYNAMIC_NCOLS", "1")
        else:
            os.environ.setdefault("TQDM_MININTERVAL", SECONDS_BETWEEN_LINES)
            os.environ.setdefault("TQDM_MAXINTERVAL", SECONDS_BETWEEN_LINES)
            self._open.enter_context(redirect_stderr(plain))
        handler = logging.StreamHandler(plain)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        self._open.callback(_log.removeHandler, handler)
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)
        try:
            config = load_config(self._job.config, "config")
            if self._job.resources.get("gpu", 0):
                hold_gpu()
        except InputError as error:
            self._fail(error)
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(config.threads)))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        return config

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._fail(error)
        self._open.close()

    def _fail(self, error: Exception) -> NoReturn:
        """Log an error once, with its traceback unless the input is to blame, and end the process."""
        with self._open:
            if isinstance(error, InputError):
                _log.error("%s", error)
            else:
                _log.error("%s failed", self._job.rule, exc_info=error)
        raise SystemExit(1) from error
