"""What an evaluation keeps: a score a probe, and the unedited backbone's answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from unike_lib.io import check_fields, read_table, write_table
from unike_lib.types import InputError, ProbeKind

TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int32()
RECORD_SCHEMA = pa.schema(
    [
        *((name, TEXT) for name in ("backbone", "task", "method")),
        *((name, WHOLE) for name in ("k", "seed", "session", "position")),
        ("case", TEXT),
        ("facts", pa.list_(TEXT)),
        ("kind", TEXT),
        ("status", TEXT),
        *((name, REAL) for name in ("token", "mmedit", "exact", "generated")),
        *((name, REAL) for name in ("token_right_after", "mmedit_right_after", "exact_right_after")),
        ("answer_tokens", WHOLE),
        *((name, TEXT) for name in ("target", "text_before", "text_after")),
        *((name, REAL) for name in ("edit_seconds", "alpha")),
        ("mark", TEXT),
    ]
)
# What a point of a sweep changes: a field of the method and its value; both empty for the method as it is.
SWEEP_SCHEMA = RECORD_SCHEMA.append(pa.field("field", TEXT)).append(pa.field("value", TEXT))


@dataclass
class Score:
    """One probe of one case after a session's edits; scores are in [0, 1] and mean "unchanged" for locality kinds.

    k: edits of a session; the last one may have fewer. `token_right_after` ...: the same scores right after the case's
    own edit, before the later ones of its session; only of kind `rel` in sessions of several edits, else NaN.
    """

    case: str
    facts: list[str]
    kind: ProbeKind
    token: float
    mmedit: float
    exact: float
    generated: float
    answer_tokens: int
    target: str
    text_before: str
    text_after: str
    alpha: float
    k: int = 1
    session: int = 0
    position: int = 0
    edit_seconds: float = 0.0
    status: str = "ok"
    token_right_after: float = np.nan
    mmedit_right_after: float = np.nan
    exact_right_after: float = np.nan


@dataclass
class Before:
    """The unedited answers by (case, kind): best ids at answer positions, best ids everywhere, greedy text."""

    rows: dict[tuple[str, str], dict[str, object]] = field(default_factory=dict)

    def add(self, case: str, kind: ProbeKind, answer: Tensor, tops: Tensor, generated: list[int], text: str) -> None:
        """Keep the answers of one probe; tops are [position, rank], empty for kinds that need none."""
        self.rows[case, kind] = {
            "answer": answer.tolist(),
            "tops": tops.flatten().tolist(),
            "ranks": tops.shape[1],
            "generated": generated,
            "text": text,
        }

    def answer(self, case: str, kind: ProbeKind) -> Tensor:
        """Return the best ids at the answer positions [answer token]."""
        return torch.tensor(np.asarray(self.rows[case, kind]["answer"]), dtype=torch.long)

    def tops(self, case: str, kind: ProbeKind) -> Tensor:
        """Return the best ids at every real position [position, rank]."""
        row = self.rows[case, kind]
        return torch.tensor(np.asarray(row["tops"]), dtype=torch.long).view(-1, int(str(row["ranks"])))

    def generated_ids(self, case: str, kind: ProbeKind) -> list[int]:
        """Return the greedy answer as ids."""
        return [int(token) for token in np.asarray(self.rows[case, kind]["generated"])]

    def text(self, case: str, kind: ProbeKind) -> str:
        """Return the greedy answer as text."""
        return str(self.rows[case, kind]["text"])

    def save(self, path: Path, mark: str) -> None:
        """Write to Parquet."""
        ids = pa.list_(pa.int32())
        schema = pa.schema(
            [
                *(("case", TEXT), ("kind", TEXT), ("answer", ids), ("tops", ids)),
                *(("ranks", WHOLE), ("generated", ids), ("text", TEXT)),
            ]
        )
        frame = pd.DataFrame([{"case": case, "kind": kind, **row} for (case, kind), row in self.rows.items()])
        write_table(path, frame, mark, schema)

    @classmethod
    def load_all(cls, paths: Sequence[str | Path]) -> "Before":
        """Read the answers of several tasks; raise InputError if a file is broken or two have a case of the same id."""
        joined = cls()
        for path in paths:
            more = cls.load(Path(path))
            if twice := sorted(more.rows.keys() & joined.rows.keys()):
                raise InputError(f"{path}: case {twice[0][0]}: the id is taken by a case of another task")
            joined.rows.update(more.rows)
        return joined

    @classmethod
    def load(cls, path: Path, mark: str | None = None) -> "Before":
        """Read from Parquet; raise InputError if the file is broken or from other inputs."""
        table = read_table(path, mark)
        check_fields(path, table.columns, ("case", "kind", "answer", "tops", "ranks", "generated", "text"))
        rows = table.to_dict("records")
        return cls({(str(row["case"]), str(row["kind"])): {str(k): v for k, v in row.items()} for row in rows})
