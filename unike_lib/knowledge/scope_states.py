"""States by which the unedited model may know a question again: s = LN1(h) of every layer, at the last prompt token.

The file has a tensor `states` [question, layer, d] and an `index`: which edit asks which question, as what.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.io import read_tensors, write_tensors
from unike_lib.types import EditCase, InputError, Query, beside_alike

if TYPE_CHECKING:
    from unike_lib.backbones.backbone import Backbone

REPHRASINGS = ("t_gen", "m_gen")
NEAR_MISSES = ("m_loc", "near_picture", "near_question")
LOCALITIES = ("t_loc", *NEAR_MISSES)
SCOPE_KINDS = ("rel", *REPHRASINGS, "t_gen_far", *LOCALITIES)
RELATION = re.compile(r"[^/]+/(\w+)")  # a fact of the embedded benchmark: "pea pod/room"
ROWS = 64
Edit = tuple[str, str, str]
INDEX = "index"


@dataclass(frozen=True)
class Asked:
    """A question that an edit asks: its row in `states`, the edit's split, task and id, the probe's kind, the relation.

    The relation is that of the edit's first fact, where the benchmark says such.
    """

    question: int
    split: str
    task: str
    case: str
    kind: str
    relation: str

    @property
    def edit(self) -> Edit:
        """The edit: split, task, id."""
        return self.split, self.task, self.case


@dataclass(frozen=True)
class ScopeStates:
    """States of edits' questions: states [question, layer, d], float32; the model's edited layers; who asks what."""

    states: Tensor
    edited: tuple[int, ...]
    asked: tuple[Asked, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the edits, in their order."""
        return tuple(dict.fromkeys(each.task for each in self.asked))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations of the edits; none if the benchmark says none."""
        return tuple(sorted({each.relation for each in self.asked} - {""}))

    def divided(self, edits: set[Edit]) -> tuple["ScopeStates", "ScopeStates"]:
        """Return the questions of some edits, and those of all others."""
        own, others = (tuple(each for each in self.asked if (each.edit in edits) == side) for side in (True, False))
        return replace(self, asked=own), replace(self, asked=others)

    def of_kinds(self, kinds: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the rows in `states` of edits' own questions, and of their questions of some kinds, [n] each.

        Questions of an edit whose own question is not here are left out.
        """
        own = {each.edit: each.question for each in self.asked if each.kind == "rel"}
        pairs = [(own[each.edit], each.question) for each in self.asked if each.kind in kinds and each.edit in own]
        keys, questions = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        return keys, questions


def extract_scope_states(
    backbone: "Backbone",
    cases_by_name: Mapping[str, Sequence[EditCase]],
    kinds: Sequence[str],
    out: Path,
    fingerprint: str,
    whole: int | None = None,
) -> None:
    """Write the states of the questions of edits, a question once.

    Args:
        backbone: the unedited model.
        cases_by_name: the edits of each split, by its name.
        kinds: the probes that are asked, where an edit has them.
        out: safetensors file, for `read_scope_states`.
        fingerprint: of what made it.
        whole: of so many edits of each split and task all kinds are asked, of the others `rel` alone; None: of all.
    """
    from unike_lib.backbones.prompt_states import prompt_states  # who only reads states needs no backbone

    layers, numbers = range(len(backbone.decoder.layers)), dict[Query, int]()
    asked = [
        Asked(numbers.setdefault(query, len(numbers)), split, case.request.task, case.request.id, kind, relation(case))
        for split, cases in cases_by_name.items()
        for case, kind, query in _questions(cases, kinds, whole)
    ]
    order = sorted(numbers, key=beside_alike)
    states = torch.empty(len(order), len(layers), backbone.width)
    for start in tqdm(range(0, len(order), ROWS), desc="scope states", unit="batch"):
        queries = order[start : start + ROWS]
        states[[numbers[query] for query in queries]] = prompt_states(backbone, queries, layers).float().cpu()
    index = {"edited": list(backbone.layers), "asked": [asdict(each) for each in asked]}
    packed = torch.tensor(list(json.dumps(index).encode()), dtype=torch.uint8)
    write_tensors(out, {"states": states, INDEX: packed}, fingerprint)


def _questions(
    cases: Sequence[EditCase], kinds: Sequence[str], whole: int | None
) -> Iterator[tuple[EditCase, str, Query]]:
    """Yield what is asked of edits: edit, kind, question without its answer."""
    before: dict[str, int] = {}
    for case in cases:
        place = before[case.request.task] = before.get(case.request.task, -1) + 1
        for probe in case.probes:
            if probe.kind in kinds and (probe.kind == "rel" or whole is None or place < whole):
                yield case, probe.kind, replace(probe.query, answer=None)


def relation(case: EditCase) -> str:
    """Return the relation of a case's first fact; "" if that does not say one."""
    found = RELATION.fullmatch(case.facts[0]) if case.facts else None
    return found[1] if found else ""


def read_scope_states(path: Path) -> ScopeStates:
    """Read what `extract_scope_states` wrote.

    Raises:
        InputError: the file is missing, broken, or holds a state that is not finite.
    """
    tensors = read_tensors(path)
    for name in ("states", INDEX):
        if name not in tensors:
            raise InputError(f"{path}: not states of questions: entry '{name}' is missing")
    index, states = json.loads(bytes(tensors[INDEX].tolist())), tensors["states"]
    if not torch.isfinite(states).all():
        question = int((~torch.isfinite(states)).flatten(1).any(1).nonzero()[0])
        raise InputError(f"{path}: question {question}: field 'states' is not finite")
    return ScopeStates(states, tuple(index["edited"]), tuple(Asked(**each) for each in index["asked"]))
