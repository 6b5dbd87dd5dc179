"""What every job shares: what its rule declares, its log, threads and GPU, and one plain line for a wrong input."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol, TextIO, TypeVar

from unike_lib.characters import visible
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.base import MethodSection, Section, UndeclaredError
from unike_lib.config.evaluation import EvaluationConfig, StatisticsConfig
from unike_lib.garbage import collect_less
from unike_lib.gpu_slot import hold_gpu
from unike_lib.io import backbone_mark, fingerprint_of, marked
from unike_lib.method import find_method
from unike_lib.types import InputError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
SECONDS_BETWEEN_LINES = "30"
CLEARED_LINE = "\r\x1b[K"  # a terminal's way of erasing the line that the cursor is in

SectionType = TypeVar("SectionType", bound=Section)
_log = logging.getLogger("unike_lib")


class SnakemakeJob(Protocol):
    """The part of Snakemake's `snakemake` object that is used here."""

    rule: str
    wildcards: Any
    params: Any
    input: Any
    output: Any
    resources: Any  # what the job takes, and what it needs without a change of it running the job again
    threads: int
    log: Sequence[str]


class Declared(dict[str, Any]):
    """What a rule declares of one kind ("input"), by name: `job.inputs.cases`; another name raises UndeclaredError."""

    def __init__(self, rule: str, kind: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._rule, self._kind = rule, kind

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise UndeclaredError(f"rule {self._rule} does not declare {self._kind} '{name}'; it has {list(self)}")
        return self[name]


class Job:
    """What a script sees of its rule: all that the rule declares, and nothing else.

    `inputs`, `outputs`: by name a path, or a tuple of paths where the rule declares several; `params`: what runs the
    job again when it changes; `wildcards`; `threads`.

    A section of the configuration is put together from the parameter of its name, a mapping of fields, and from the
    resource of its name, JSON text with those fields that change no result.
    """

    def __init__(self, job: SnakemakeJob) -> None:
        self._job, self.rule, self.threads = job, job.rule, job.threads
        self.inputs = Declared(job.rule, "input", _paths(job.input))
        self.outputs = Declared(job.rule, "output", _paths(job.output))
        self.wildcards = Declared(job.rule, "wildcard", dict(job.wildcards.items()))
        self.params = Declared(job.rule, "parameter", dict(job.params.items()))

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of what the job makes: its rule, its parameters (code included), what its inputs contain.

        Inputs named `images` are left out: a user's picture folder may be too large to be read for every job; so is
        what `files` look like. Behind it stands that of the backbone, where the rule opens one.
        """
        left_out = {*self._files("images"), *(self._files("backbone") if self._backbone_mark else ())}
        inputs = (Path(path) for path in self._job.input if path not in left_out)
        params = {name: value for name, value in self.params.items() if name != "files"}
        return marked(fingerprint_of(self.rule, params, *inputs), self._backbone_mark)

    @cached_property
    def _backbone_mark(self) -> str:
        """The fingerprint of the job's backbone: what its folder contains, or its hub id, and how it is opened."""
        if "backbone" not in self.inputs or "folder" not in self.params:
            return ""
        return mark_of_backbone(self.params.backbone, self._files("backbone") or [self.params.folder])

    def _files(self, name: str) -> Sequence[str]:
        """Return the inputs of a name."""
        files = self._job.input.get(name, ())
        return [files] if isinstance(files, str) else list(files)

    def section(self, name: str, kind: type[SectionType]) -> SectionType:
        """Return a section of the configuration with the fields that the rule declares; see `Section.declared`."""
        return kind.declared(self._fields(name), self.rule)

    def _fields(self, name: str) -> dict[str, Any]:
        """Return the fields of a section by name: those of its parameter, and those of its resource."""
        beside = self._job.resources.get(name)
        values = json.loads(beside) if beside else {}
        return values | getattr(self.params, name) if name in self.params or not values else values

    @property
    def backbone(self) -> BackboneConfig:
        """The job's backbone; raise InputError if an input was made with another than its folder holds now."""
        if self._backbone_mark:
            check_made_with(self._backbone_mark, self.params.folder, map(Path, self._job.input))
        return self.section("backbone", BackboneConfig)

    @property
    def evaluation(self) -> EvaluationConfig:
        """How edits are scored."""
        return self.section("evaluation", EvaluationConfig)

    @property
    def statistics(self) -> StatisticsConfig:
        """How intervals are made."""
        return self.section("statistics", StatisticsConfig)

    def method(self, overrides: Mapping[str, Any] | None = None) -> MethodSection:
        """Return the settings of the job's method variant, some of them overridden."""
        values = self._fields("method") | dict(overrides or {})
        return find_method(values["method"]).settings.declared(values, self.rule)


def mark_of_backbone(fields: Mapping[str, Any], files: Sequence[str | Path]) -> str:
    """Return the fingerprint of a backbone: its folder's content, or its hub id, and how it is opened."""
    opened = {name: fields.get(name) for name in ("family", "dtype", "image_size")}
    return fingerprint_of(opened, *(Path(each) if Path(each).exists() else each for each in files))


def check_made_with(mark: str, folder: str | Path, paths: Iterable[Path]) -> None:
    """Refuse files that were made with another backbone; those that were made with none are right.

    Raises:
        InputError: names the file.
    """
    for path in paths:
        found = backbone_mark(path)
        if found and found != mark:
            raise InputError(
                f"{path}: made with another backbone than {folder} holds (its fingerprint was {found}, is {mark}); "
                "delete it, so that it is made anew"
            )


def _paths(files: Any) -> dict[str, Path | tuple[Path, ...]]:
    """Return Snakemake's named files: a path, or a tuple of paths, by name."""
    return {name: Path(each) if isinstance(each, str) else tuple(map(Path, each)) for name, each in files.items()}


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
                stream.write(f"{before}{visible(line.rstrip())}\n")
                stream.flush()
        return len(text)


class Stage:
    """The frame of a workflow script: `with Stage(snakemake) as job:` around its imports and its one call.

    Sets the number of threads and takes a GPU, if the job needs one, before torch is imported; logs to the job's log
    and to stderr, where jobs run side by side and every line and bar says whose it is (bars on a terminal, else plain
    lines); ends the process with exit status 1 after an error: a single line for an InputError, a traceback for any
    other.

    Raises:
        SystemExit: an input is wrong, or the stage has a fault.
    """

    def __init__(self, job: SnakemakeJob) -> None:
        self._job = job
        self._open = ExitStack()

    def __enter__(self) -> Job:
        collect_less()
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
            if self._job.resources.get("gpu", 0):
                hold_gpu()
        except InputError as error:
            self._fail(error)
        threads = self._job.resources.get("torch_threads", self._job.threads)
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        return Job(self._job)

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
