"""What the unedited backbone answers to every probe: made once, and read by all methods."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from unike_lib.io import check_fields, read_table, write_table
from unike_lib.records import TEXT, WHOLE
from unike_lib.types import InputError


@dataclass
class UneditedAnswers:
    """The unedited answers by (case, kind): best ids at answer positions, best ids everywhere, greedy text."""

    rows: dict[tuple[str, str], dict[str, object]] = field(default_factory=dict)

    def add(self, case: str, kind: str, answer: Tensor, tops: Tensor, generated: list[int], text: str) -> None:
        """Keep the answers of one probe; tops are [position, rank], empty for kinds that need none."""
        self.rows[case, kind] = {
            "answer": answer.tolist(),
            "tops": tops.flatten().tolist(),
            "ranks": tops.shape[1],
            "generated": generated,
            "text": text,
        }

    def answer(self, case: str, kind: str) -> Tensor:
        """Return the best ids at the answer positions [answer token]."""
        return torch.tensor(np.asarray(self.rows[case, kind]["answer"]), dtype=torch.long)

    def tops(self, case: str, kind: str) -> Tensor:
        """Return the best ids at every real position [position, rank]."""
        row = self.rows[case, kind]
        return torch.tensor(np.asarray(row["tops"]), dtype=torch.long).view(-1, int(str(row["ranks"])))

    def generated_ids(self, case: str, kind: str) -> list[int]:
        """Return the greedy answer as ids."""
        return [int(token) for token in np.asarray(self.rows[case, kind]["generated"])]

    def text(self, case: str, kind: str) -> str:
        """Return the greedy answer as text."""
        return str(self.rows[case, kind]["text"])

    def save(self, path: Path, fingerprint: str) -> None:
        """Write to Parquet."""
        ids = pa.list_(pa.int32())
        schema = pa.schema(
            [
                *(("case", TEXT), ("kind", TEXT), ("answer", ids), ("tops", ids)),
                *(("ranks", WHOLE), ("generated", ids), ("text", TEXT)),
            ]
        )
        frame = pd.DataFrame([{"case": case, "kind": kind, **row} for (case, kind), row in self.rows.items()])
        write_table(path, frame, fingerprint, schema)

    @classmethod
    def load_all(cls, paths: Sequence[str | Path]) -> "UneditedAnswers":
        """Read the answers of several tasks; raise InputError if a file is broken or two have a case of the same id."""
        joined = cls()
        for path in paths:
            more = cls.load(Path(path))
            if twice := sorted(more.rows.keys() & joined.rows.keys()):
                raise InputError(f"{path}: case {twice[0][0]}: the id is taken by a case of another task")
            joined.rows.update(more.rows)
        return joined

    @classmethod
    def load(cls, path: Path) -> "UneditedAnswers":
        """Read from Parquet; raise InputError if the file is broken."""
        table = read_table(path)
        check_fields(path, table.columns, ("case", "kind", "answer", "tops", "ranks", "generated", "text"))
        rows = table.to_dict("records")
        return cls({(str(row["case"]), str(row["kind"])): {str(k): v for k, v in row.items()} for row in rows})
