"""Which cells the tables of the paper have: a part of the configuration; `config` says what the sources mean."""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from unike_lib.section import Entry, Section, given, setting
from unike_lib.types import TASKS, Task

CROSS = "cross"


def tasks_of(name: str) -> tuple[str, ...]:
    """Return the tasks whose edits make up a task of a table: itself, or all for the mixture."""
    return TASKS if name == CROSS else (name,)


class RowsConfig(Section):
    """Rows of a table: its cells are every backbone, setting and method."""

    backbones: tuple[str, ...] = setting(..., "Backbones that have rows.", min_length=1)
    methods: tuple[str, ...] = setting(..., "Methods that have rows: entries of `methods`.", min_length=1)

    @property
    @abstractmethod
    def settings(self) -> list[tuple[str, int]]:
        """Tasks, each with a number of edits per session, K."""

    @property
    def single_tasks(self) -> tuple[str, ...]:
        """The tasks whose edits are in the table."""
        return tuple(dict.fromkeys(single for task, _ in self.settings for single in tasks_of(task)))


class TableConfig(RowsConfig):
    """A table of one-step editing."""

    tasks: tuple[Task, ...] = setting(TASKS, "Tasks whose edits are in the table.", "paper", min_length=1)

    @property
    def settings(self) -> list[tuple[str, int]]:
        """Tasks, each with K = 1."""
        return [(task, 1) for task in self.tasks]


class SequentialConfig(TableConfig):
    """A table of sequential editing."""

    ks: tuple[Annotated[int, Field(ge=2)], ...] = setting((10, 20), "Edits per session.", "paper", min_length=1)

    @property
    def settings(self) -> list[tuple[str, int]]:
        """Every task with every K."""
        return [(task, k) for k in self.ks for task in self.tasks]


class CrossTaskConfig(RowsConfig):
    """A table of cross-task editing: half of a session's edits are VQA, half captions."""

    ks: tuple[Annotated[int, Field(ge=2, multiple_of=2)], ...] = setting(
        (10,), "Edits per session.", "paper", min_length=1
    )

    @property
    def settings(self) -> list[tuple[str, int]]:
        """The mixture of tasks with every K."""
        return [(CROSS, k) for k in self.ks]


# The rows of the default run. presets/full.yaml has all methods.
TABLE1 = Entry(
    values=given(
        "ours", "minigpt4-nano fails the admission tests, as blip2-nano does", backbones=["blip2-nano", "minigpt4-smol"]
    )
    | given("ours", methods=["base", "fine-tune", "t-patcher", "unike"])
)
TABLE2 = Entry(values=given("ours", backbones=["minigpt4-smol"], methods=["fine-tune", "t-patcher", "unike"]))
TABLE3 = TABLE2
TABLE4 = Entry(
    values=given("ours", backbones=["minigpt4-smol"])
    | given("paper", "Table 4", methods=["only-intrin", "only-latent-ike", "intrin-latent-ike", "unike"])
)
