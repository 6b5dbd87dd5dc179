"""What many edits in one session cost behind the semantic scope: questions asked, and one more edit made.

A row runs the neurons of the edit that it means alone, and an edit is made as if it were the first; the twin is that
session without a scope, whose rows run all neurons.
"""

from functools import partial

import torch
from torch.nn.functional import normalize

from bench.subjects import Subject
from bench.timing import in_turn
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.scope import ScopeSpace
from unike_lib.methods.shared.neuron_training import NeuronTrainer
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.methods.shared.semantic_scope import ScopedEditor, SemanticScope
from unike_lib.methods.t_patcher.editor import TPatcher
from unike_lib.methods.t_patcher.settings import TPatcherMethod

QUESTIONS, POOL, NEURONS, STEPS = 32, 300, 10, 10


def scope(subject: Subject, edits: int) -> SemanticScope:
    """Return the scope of a session whose last edits are the subject's own requests, the others random questions."""
    backbone, generator = subject.backbone, torch.Generator().manual_seed(0)
    layer = len(backbone.decoder.layers) - 1
    pool = normalize(torch.randn(POOL, backbone.width, generator=generator), dim=1)
    space = ScopeSpace(layer, pool, torch.full((POOL,), 0.85), torch.full((POOL,), 0.025), {"vqa": (0.85, 0.025)}, None)
    keys = normalize(torch.randn(1, edits, 1, backbone.width, generator=generator), dim=3)
    own = space.project(prompt_states(backbone, [case.request.query for case in subject.cases], (layer,))[:, 0])
    known = min(edits, len(own))
    if known:
        keys[0, -known:, 0] = own[:known]
    texts, live = normalize(torch.randn(keys.shape, generator=generator), dim=3), torch.ones(1, edits, dtype=torch.bool)
    cut = torch.full((1, edits, 1), 0.85), torch.full((1, edits, 1), 0.025)
    return SemanticScope((space,), (None,), False, True, True, keys, texts, *cut, live)


def session(subject: Subject, edits: int, scoped: bool) -> Patch:
    """Return a patch of so many edits, of random neurons."""
    backbone, generator = subject.backbone, torch.Generator().manual_seed(1)
    draw = lambda *shape: 0.01 * torch.randn(1, *shape, generator=generator)  # noqa: E731
    count, width = NEURONS * edits, backbone.width
    layers = {layer: Neurons(draw(width, count), draw(count), draw(count, width)) for layer in backbone.layers}
    parts = (ExtraNeurons(layers, NEURONS),) if edits else ()
    return Patch(1, (scope(subject, edits), *parts) if scoped else parts)


def measure(subject: Subject, counts: tuple[int, ...], rounds: int) -> list[str]:
    """Return lines: questions per second against one edit, seconds of one more edit, memory per edit."""
    backbone = subject.backbone
    queries = [case.query("rel") for case in subject.cases[:QUESTIONS]]
    lines = []
    for scoped in (True, False):
        patches = {count: session(subject, count, scoped) for count in counts}
        ways = {str(count): partial(answer_logits, backbone, queries, patch) for count, patch in patches.items()}
        times = {name: min(spent) for name, spent in in_turn(ways, rounds).items()}
        first = times[str(counts[0])]
        shown = ", ".join(f"K = {name}: {first / spent:.2f}" for name, spent in times.items())
        lines.append(f"questions per second, as a share of those at K = {counts[0]}, {_named(scoped)}: {shown}")
    settings = TPatcherMethod(method="t-patcher", neurons=NEURONS, steps=STEPS)
    plain = TPatcher(NeuronTrainer(backbone, settings, subject.ffn_inputs, 0))
    request = subject.cases[-1].request
    for editor in (ScopedEditor(plain, backbone, scope(subject, 0)), plain):
        scoped = isinstance(editor, ScopedEditor)
        patches = {count: session(subject, count - 1, scoped) for count in counts}
        ways = {str(count): partial(editor.edit, [request], patch) for count, patch in patches.items()}
        times = {name: min(spent) for name, spent in in_turn(ways, rounds).items()}
        shown = ", ".join(f"K = {name}: {1000 * spent:.0f} ms" for name, spent in times.items())
        lines.append(f"the K-th edit, {_named(scoped)}: {shown}")
    kept = sum(part.nbytes for part in session(subject, 1, True).tensors().values())
    return [f"{subject.name}, one session, {QUESTIONS} questions", *lines, f"kept of an edit: {kept / 1024:.0f} KiB"]


def _named(scoped: bool) -> str:
    return "behind the scope" if scoped else "without a scope"
