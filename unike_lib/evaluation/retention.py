"""What a session of many edits costs the rest: fixed questions and the edits' own, generated, after every few edits.

The session is made once: what is asked after K edits is what a session of K edits would say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import torch
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.backbones.oom import peak_mb
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import Reply, find_criterion
from unike_lib.editing.editor import Editor
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.retention_questions import FixedQuestion, RetentionPlan
from unike_lib.evaluation.sessions import install
from unike_lib.types import EditCase, Probe

CRITERION = "normalised"  # by which two answers are the same
EDITS = "edits"
NOTHING = torch.zeros(0)
# One row per number of edits, set and question. `retained`: the answer is the unedited one, of the edits' own questions
# that right after the edit; `right`: it is the target; `right_after`: of the edits' own, the same right after the edit.
RETENTION_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("backbone", "method")),
        ("k", pa.int32()),
        *((name, pa.string()) for name in ("set", "question")),
        ("clusters", pa.list_(pa.string())),
        *((name, pa.float64()) for name in ("retained", "right", "right_after")),
        ("text", pa.string()),
        ("left_out", pa.int32()),
        ("status", pa.string()),
    ]
)
COST_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("backbone", "method")),
        ("k", pa.int32()),
        *((name, pa.float64()) for name in ("seconds_per_edit", "bytes_per_edit", "peak_mb")),
    ]
)


@dataclass(frozen=True)
class _Answer:
    """A greedy answer; one whose logits are not numbers is neither right nor retained."""

    ids: list[int]
    text: str
    finite: bool = True

    def among(self, probe: Probe, accepted: Sequence[str]) -> float:
        """Return 1 if it equals an accepted answer, else 0."""
        none = dict.fromkeys(("wanted", "best", "log_probabilities", "ranks_before", "ranks_after"), NOTHING)
        reply = Reply(query=probe.query, must="become", text=self.text, accepted=tuple(accepted), **none)
        return find_criterion(CRITERION).of(reply) if self.finite else 0.0

    def right(self, probe: Probe) -> float:
        """Return 1 if it is the target or an alias of it, else 0."""
        return self.among(probe, (probe.query.answer or "", *probe.aliases))


def run_retention(
    backbone: Backbone, editor: Editor, plan: RetentionPlan, settings: EvaluationConfig
) -> list[dict[str, object]]:
    """Make the edits of a plan, one after the other, and ask everything before the first and after each K.

    Args:
        backbone: the model.
        editor: the method.
        plan: the session and what is asked.
        settings: questions per pass, longest answer.

    Returns:
        Rows of RETENTION_SCHEMA without backbone and method; those before any edit have K = 0.
    """
    own = [_own(case) for case in plan.edits]
    before = {name: _ask(backbone, fixed, None, None, settings) for name, fixed in plan.questions.items()}
    rows = _fixed_rows(plan, 0, before, before)
    patch, right_after, failures = editor.start(1), list[_Answer](), list[dict[str, str]]()
    for k, case in enumerate(tqdm(plan.edits, desc="edits of one session", unit="edit"), start=1):
        patch, ((failure, _),) = install(editor, [case], patch, backbone.device)
        right_after += _ask(backbone, own[k - 1 : k], patch, None, settings)
        failures.append({"status": f"failed: {failure}"} if failure else {})
        if k in plan.ks:
            now = {name: _ask(backbone, plan.questions[name], patch, before[name], settings) for name in before}
            rows += _fixed_rows(plan, k, before, now)
            answers = _ask(backbone, own[:k], patch, right_after, settings)
            rows += [
                _row(k, EDITS, each, answer, first, 0) | {"right_after": first.right(each.probe)} | failed
                for each, answer, first, failed in zip(own[:k], answers, right_after, failures, strict=True)
            ]
    return rows


def measure_cost(backbone: Backbone, editor: Editor, edits: Sequence[EditCase], ks: Sequence[int]) -> pd.DataFrame:
    """Make edits in one session and return what they cost at each K, in columns of COST_SCHEMA.

    `seconds_per_edit`: of the edits since the K before; `bytes_per_edit`: what is kept of K edits, over K; `peak_mb`:
    most memory that the process has held so far, MiB.
    """
    patch, rows, seconds = editor.start(1), [], list[float]()
    for k, case in enumerate(tqdm(edits, desc="edits whose cost is measured", unit="edit"), start=1):
        patch, ((_, spent),) = install(editor, [case], patch, backbone.device)
        seconds.append(spent)
        if k in ks or k == len(edits):
            kept = sum(part.nbytes for part in patch.tensors().values())
            rows.append((k, sum(seconds) / len(seconds), kept / k, peak_mb(backbone.device)))
            seconds.clear()
    return pd.DataFrame(rows, columns=COST_SCHEMA.names[2:])


def _own(case: EditCase) -> FixedQuestion:
    return FixedQuestion(case.request.id, case.probe("rel"), case.facts)


def _fixed_rows(
    plan: RetentionPlan, k: int, before: dict[str, list[_Answer]], now: dict[str, list[_Answer]]
) -> list[dict[str, object]]:
    return [
        _row(k, name, each, answer, first, plan.left_out[name])
        for name, fixed in plan.questions.items()
        for each, answer, first in zip(fixed, now[name], before[name], strict=True)
    ]


def _row(k: int, name: str, each: FixedQuestion, now: _Answer, first: _Answer, left_out: int) -> dict[str, object]:
    return {
        "k": k,
        "set": name,
        "question": each.id,
        "clusters": list(each.clusters),
        "retained": now.among(each.probe, [first.text]),
        "right": now.right(each.probe),
        "right_after": float("nan"),
        "text": now.text,
        "left_out": left_out,
        "status": "ok" if now.finite else "failed: logits are not finite",
    }


@torch.no_grad()
def _ask(
    backbone: Backbone,
    questions: Sequence[FixedQuestion],
    patch: Patch | None,
    guesses: Sequence[_Answer] | None,
    settings: EvaluationConfig,
) -> list[_Answer]:
    """Return the greedy answers; a guess of each, by default the right one, is a matter of speed alone."""
    found = []
    for start in range(0, len(questions), settings.sessions):
        part = slice(start, start + settings.sessions)
        queries = [replace(each.probe.query, answer=each.probe.query.answer or "") for each in questions[part]]
        drafts = [backbone.answer_ids(query.answer or "") for query in queries]
        if guesses is not None:
            drafts = [guess.ids for guess in guesses[part]]
        asked = answer_logits(backbone, queries, patch, drafts)
        finite = asked.finite.tolist()
        written = generate(backbone, queries, drafts, patch, settings.max_new_tokens, asked)
        found += [_Answer(ids, backbone.text(ids), sound) for ids, sound in zip(written, finite, strict=True)]
    return found
