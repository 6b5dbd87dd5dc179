"""Which tables there are and which cells each has: a part of the configuration; `config` says what the sources mean."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from unike_lib.config.base import Count, Entry, Given, Once, Removable, Section, given, setting
from unike_lib.config.problems import raise_problems
from unike_lib.types import TASKS, Task

CROSS = "cross"
# The paper's tables as data, each with the columns of its file; Table 5 has settings in the place of cells.
PAPER_TABLES = {
    file.stem: file.read_text(encoding="utf-8").splitlines()[0].split(",")
    for file in sorted((Path(__file__).parents[1] / "reporting" / "paper").glob("table*.csv"))
}
NAME = r"[a-z0-9][a-z0-9-]*"  # `_` stands before a criterion in a file's name
# Other files of results/.
TAKEN = {"diagnostics", "judge", "positive_control", "qualitative", "report", "retention", "scope", "tuning"}


def tasks_of(name: str) -> tuple[str, ...]:
    """Return the tasks whose edits make up a task of a table: itself, or all for the mixture; of "vqa-caption", both.

    A job of several tasks has such a name.
    """
    parts = name.split("-")
    return TASKS if CROSS in parts else tuple(parts)


class TableConfig(Section):
    """A table: a cell per backbone, task, number of edits and method; or averages over the cells of other tables."""

    title: str = setting(..., "Heading on pages.", min_length=1)
    backbones: Annotated[tuple[str, ...], Once] = setting((), "Backbones that have rows.", "ours")
    methods: Annotated[tuple[str, ...], Once] = setting((), "Methods that have rows: entries of `methods`.", "ours")
    tasks: Annotated[tuple[Literal[Task, "cross"], ...], Once] = setting(
        TASKS, "Tasks whose edits are in the table; cross: half of a session's edits are VQA, half captions.", "paper"
    )
    ks: Annotated[tuple[Count, ...], Once] = setting(
        (1,), "Edits per session, made one after another before all are scored; 1: one-step editing.", "paper"
    )
    averages: Annotated[dict[str, str], Removable()] = setting(
        {}, "Other tables to average over, in the place of cells: what their rows are called, table.", "ours"
    )
    paper: str | None = setting(None, "The paper's table whose numbers stand beside; null: none.", "ours")

    @property
    def settings(self) -> list[tuple[str, int]]:
        """Tasks of the cells, each with a number of edits per session, K."""
        return [] if self.averages else [(task, k) for k in self.ks for task in self.tasks]

    @property
    def single_tasks(self) -> tuple[str, ...]:
        """The tasks whose edits are in the cells."""
        return tuple(dict.fromkeys(single for task, _ in self.settings for single in tasks_of(task)))

    @property
    def several(self) -> bool:
        """Whether sessions hold several edits."""
        return any(k > 1 for _, k in self.settings)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        rows = (self.backbones, self.methods, self.tasks, self.ks) if not self.averages else ()
        problems = []
        if not all(rows) or (self.averages and (self.backbones or self.methods)):
            problems.append("expected backbones, methods, tasks and ks, or averages of other tables")
        if any(task == CROSS and k % 2 for task, k in self.settings):
            problems.append(f"ks: expected even numbers, because half of a {CROSS} session is VQA; found {self.ks}")
        known = [name for name, columns in PAPER_TABLES.items() if ("setting" in columns) == bool(self.averages)]
        if self.paper is not None and self.paper not in known:
            problems.append(f"paper: expected one of {', '.join(known)}, or null; found {self.paper!r}")
        raise_problems(problems)
        return self

    @model_serializer(mode="wrap")
    def _own_fields(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the other kind of table has."""
        other = ("backbones", "methods", "tasks", "ks") if self.averages else ("averages",)
        return {name: value for name, value in dump(self).items() if name not in other}


def made_tables(tables: dict[str, TableConfig], tasks: Collection[str]) -> dict[str, TableConfig]:
    """Return the tables that a benchmark with these tasks can have: with one task, none of mixed tasks.

    Raises:
        ValueError: a name that no file can have, averages of what is no table with cells, or no table with cells.
    """
    problems = [
        f"{name!r} cannot name a table: small letters, digits and -; not {sorted(TAKEN)}"
        for name in tables
        if name in TAKEN or not re.fullmatch(NAME, name)
    ]
    if len(tasks) < len(TASKS):
        tables = {name: table for name, table in tables.items() if CROSS not in table.tasks}
    cells = [name for name, table in tables.items() if table.settings]
    for name, table in tables.items():
        for other in table.averages.values():
            if other not in cells:
                problems.append(f"{name}.averages: no table with cells {other!r}; known: {cells}")
    if not cells:
        problems.append("expected at least one table with cells")
    raise_problems(problems)
    return tables


def _table(number: int, title: str, values: dict[str, Given | Entry]) -> Entry:
    named = given("paper", title=f"Table {number}: {title}")
    return Entry(values=named | values | given("paper", paper=f"table{number}"))


_SMOL = given("ours", backbones=["minigpt4-smol"])
_SESSIONS = _SMOL | given("ours", methods=["fine-tune", "t-patcher", "unike", "unike-scope"])
_NOTE = "minigpt4-nano fails the positive control, as blip2-nano does"
# The default run's, with few methods: presets/full.yaml has all.
TABLES = Entry(
    values={
        "table1": _table(
            *(1, "one-step editing"),
            given("ours", _NOTE, backbones=["blip2-nano", "minigpt4-smol"])
            | given("ours", methods=["base", "fine-tune", "t-patcher", "unike", "unike-scope"]),
        ),
        "table2": _table(2, "sequential editing", _SESSIONS | given("paper", ks=[10, 20])),
        "table3": _table(3, "cross-task editing", _SESSIONS | given("paper", tasks=[CROSS], ks=[10])),
        "table4": _table(
            *(4, "what each part of UniKE gives (one-step editing)"),
            _SMOL | given("paper", "Table 4", methods=["only-intrin", "only-latent-ike", "intrin-latent-ike", "unike"]),
        ),
        "table5": _table(
            *(5, "averages of one-step and sequential editing"),
            {"averages": Entry(values=given("paper", **{"one-step": "table1", "sequential": "table2"}))},
        ),
    }
)
