"""Finished groups of sessions, kept beside an output while its job runs: a job that was killed goes on from them.

The folder is no output of the rule: Snakemake deletes the outputs of a job that failed. What a chunk holds is what the
job would have written, measured seconds included: an output put together from chunks equals that of an undisturbed job
in every column but `records.MEASURED`, of which each part was measured when it was computed.
"""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import Criterion, find_criteria
from unike_lib.io import fingerprint_of, read_table, write_table
from unike_lib.records import Score, score_schema
from unike_lib.types import EditCase, InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunks:
    """The finished parts of one output.

    folder: where they lie; fingerprint: of the job, which knows its code, settings and inputs.
    """

    folder: Path
    fingerprint: str

    def of(self, task: str) -> "Chunks":
        """Return the chunks of one of the output's tasks."""
        return Chunks(self.folder / task, self.fingerprint)

    def run(
        self,
        edit: Callable[[Mapping[int, Sequence[EditCase]]], list[Score]],
        cases: Mapping[int, Sequence[EditCase]],
        settings: EvaluationConfig,
    ) -> list[Score]:
        """Return the scores of all cases in sessions of every K; parts finished earlier are read, not edited again.

        Args:
            edit: edits and scores some cases (`run_edits`), numbering the sessions from 0.
            cases: K -> all cases; a part is whole sessions of every K, `settings.sessions` of the longest where these
                end together with the others.
            settings: sessions edited as one batch; by what they are scored.
        """
        sessions, criteria = settings.sessions, find_criteria(settings.criteria)
        block, longest = math.lcm(*cases), max(cases)
        size = block * max(1, longest * sessions // block)
        starts = range(0, max(map(len, cases.values())), size)
        parts = [{k: every[start : start + size] for k, every in cases.items()} for start in starts]
        files = [self._file(part, sessions) for part in parts]
        self._forget_all_but(files)
        scores: list[Score] = []
        for start, part, file in zip(starts, parts, files, strict=True):
            found = self._read(file, criteria)
            if found is None:
                found = edit(part)
                rows = pd.DataFrame([score.row(criteria) for score in found])
                write_table(file, rows, file.stem, score_schema(criteria))
            for score in found:
                score.session += start // score.k
            scores += found
        return scores

    def _file(self, part: Mapping[int, Sequence[EditCase]], sessions: int) -> Path:
        """Name a part by what its scores depend on: the job, the cases of every K, and the batch."""
        names = [[k, [case.request.id for case in every]] for k, every in part.items()]
        return self.folder / f"{fingerprint_of(self.fingerprint, sessions, names)}.parquet"

    def _forget_all_but(self, files: Sequence[Path]) -> None:
        """Remove what other settings, code or inputs left here, and what a killed write did."""
        if self.folder.is_dir():
            kept = {file.name for file in files}
            for file in self.folder.iterdir():
                if file.name not in kept:
                    file.unlink(missing_ok=True)  # a job whose driver was killed may have just renamed it
            log.info("%d of %d parts were finished earlier", sum(file.is_file() for file in files), len(files))

    def _read(self, file: Path, criteria: Sequence[Criterion]) -> list[Score] | None:
        if not file.is_file():
            return None
        try:
            rows = read_table(file, file.stem).to_dict("records")
            named = [{str(name): value for name, value in row.items()} for row in rows]
            lists = [{name: list(row[name]) for name in ("facts", "aliases")} for row in named]
            return [Score.of_row(row | more, criteria) for row, more in zip(named, lists, strict=True)]
        except InputError as error:
            log.warning("this part is computed again: %s", error)
            return None


@contextmanager
def kept_chunks(output: Path, fingerprint: str) -> Iterator[Chunks]:
    """Yield the chunks of an output; they are removed when the block ends without an error, and kept after one."""
    folder = output.parent / f".{output.name}.chunks"
    yield Chunks(folder, fingerprint)
    shutil.rmtree(folder, ignore_errors=True)
