"""Seconds per edit: the naive twin against trunk / head, one session at a time and batched, on one model and edits.

Naive: every step encodes the image again and runs all layers, one edit at a time. The final losses must agree, because
a faster edit that differs is no faster edit.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.subjects import Subject, default_config
from bench.timing import Row, compare, in_turn
from unike_lib.backbones.backbone import Backbone
from unike_lib.editing.editor import Editor, edit_loss, request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.method import resolve_method
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.shared.neuron_training import NeuronTrainer
from unike_lib.methods.t_patcher.editor import TPatcher

LOSSES_APART = 1e-3
MakeEditor = Callable[[Backbone], Editor]


def t_patcher(subject: Subject, steps: int | None = None) -> MakeEditor:
    """A way to build T-Patcher with its default settings around either backbone of a subject."""
    settings = resolve_method(default_config().methods, "t-patcher", overrides={"steps": steps} if steps else None)
    return lambda backbone: TPatcher(NeuronTrainer(backbone, settings, subject.ffn_inputs, seed=0))


def fine_tune(steps: int | None = None) -> MakeEditor:
    """A way to build fine-tuning with its default settings."""
    settings = resolve_method(default_config().methods, "fine-tune", overrides={"steps": steps} if steps else None)
    return lambda backbone: FineTune(backbone, settings)


def edit_all(editor: Editor, subject: Subject, size: int, most: int | None = None) -> list[Patch]:
    """Edit every case, or the first few, in a session of its own, `size` of them side by side."""
    requests = [case.request for case in subject.cases[:most]]
    parts = [requests[start : start + size] for start in range(0, len(requests), size)]
    return [editor.edit(part, editor.start(len(part))).patch for part in parts]


def final_losses(subject: Subject, editor: Editor, size: int, most: int) -> Tensor:
    """Return the loss of each of the first few edits after it was made."""
    losses = []
    for start, patch in zip(range(0, most, size), edit_all(editor, subject, size, most), strict=True):
        part = [case.request for case in subject.cases[:most][start : start + size]]
        with torch.no_grad():
            losses.append(edit_loss(subject.backbone, request_trunk(subject.backbone, part), patch))
    return torch.cat(losses)


def measure(subject: Subject, make: MakeEditor, method: str, sessions: int, rounds: int, aim: str) -> list[Row]:
    """Return ratios per case; the slow way is measured on a quarter of the cases."""
    naive, kept = make(subject.naive), make(subject.backbone)
    edits, few = len(subject.cases), -(-len(subject.cases) // 4)
    apart = float((final_losses(subject, naive, 1, few) - final_losses(subject, kept, sessions, few)).abs().max())
    if apart > LOSSES_APART:
        raise RuntimeError(f"{subject.name}, {method}: losses differ by {apart:.1e}; the ways do not do the same")
    ways = {
        "every step from pixels, one at a time": lambda: edit_all(naive, subject, 1, few),
        "frozen part kept, one at a time": lambda: edit_all(kept, subject, 1),
        f"frozen part kept, {sessions} side by side": lambda: edit_all(kept, subject, sessions),
    }
    counts = (few, edits, edits)
    measured = in_turn(ways, rounds)
    times = {
        name: [value / count for value in values]
        for (name, values), count in zip(measured.items(), counts, strict=True)
    }
    names, what = list(ways), f"edit, {method}, {subject.name}"
    return [
        compare(what, {name: times[name] for name in names[:2]}),
        compare(what, {name: times[name] for name in (names[0], names[2])}, aim),
        compare(what, {name: times[name] for name in names[1:]}),
    ]


def measure_batches(subject: Subject, make: MakeEditor, method: str, sessions: int, rounds: int, aim: str) -> Row:
    """Return how much faster sessions of one edit are side by side than one at a time, nothing else being different."""
    editor, edits = make(subject.backbone), len(subject.cases)
    ways = {
        "frozen part kept, one at a time": lambda: edit_all(editor, subject, 1),
        f"{sessions} side by side": lambda: edit_all(editor, subject, sessions),
    }
    times = {name: [value / edits for value in values] for name, values in in_turn(ways, rounds).items()}
    return compare(f"edit, {method}, {subject.name}", times, aim)
