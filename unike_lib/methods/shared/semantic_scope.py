"""The semantic scope: how far a question is meant by each edit, by what the UNEDITED model makes of both.

The state of a question is s = LN1(h) at its last prompt token, in a late layer of the unedited model. A question means
the edit whose own question is nearest to it by cosine (the last of those that are equally near), as far as
sigmoid((cosine - threshold) / temperature); with `rivals: pool`, only if no question of the pool is nearer, and with
`text_rival`, none of the session's own questions without their pictures. Shares are computed once for a question and
hold while its answer is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import Editor, EditResult
from unike_lib.editing.patch import Part, Patch
from unike_lib.editing.standalone import Standalone
from unike_lib.knowledge.scope import ScopeSpace
from unike_lib.methods.shared.per_edit import GivenShares, PerEdit
from unike_lib.methods.shared.scope_settings import ScopeSettings
from unike_lib.types import EditRequest

LEAST = 1.0e-3  # a smaller share is none: the row runs nothing of that edit
TIE = 1.0e-5  # cosines that differ less are equal: the last of such edits is meant


@dataclass(frozen=True)
class SemanticScope(Part):
    """Which of its session's edits mean a question.

    spaces: where questions are compared, each for the layer of the same place in `layers` (None: for all layers);
    one_gate: the nearest edit opens all; pool_competes: a question that is nearer to one of the pool means no edit;
    text_competes: so does one that is nearer to an edit's question without its picture.
    keys [session, edit, space, width]: the edits' own questions, of unit length; text_keys: the same without their
    pictures; thresholds, temperatures [session, edit, space]; live, bool [session, edit]: failed edits mean nothing.
    """

    spaces: tuple[ScopeSpace, ...]
    layers: tuple[int | None, ...]
    one_gate: bool
    pool_competes: bool
    text_competes: bool
    keys: Tensor
    text_keys: Tensor
    thresholds: Tensor
    temperatures: Tensor
    live: Tensor

    @property
    def empty(self) -> bool:
        """Whether there is no edit."""
        return not self.live.shape[1]

    @property
    def reads_unedited(self) -> tuple[int, ...]:
        """The layers of the spaces."""
        return () if self.empty else tuple(space.layer for space in self.spaces)

    def tensors(self) -> dict[str, Tensor]:
        """Return the edits' own questions."""
        names = ("keys", "text_keys", "thresholds", "temperatures", "live")
        return {name: getattr(self, name) for name in names}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "SemanticScope":
        """Return the scope of such edits."""
        own: dict[str, Any] = dict(tensors)
        return replace(self, **own)

    def append(self, more: "SemanticScope") -> "SemanticScope":
        """Return the scope of all these edits."""
        theirs = more.tensors()
        return self.with_tensors({name: torch.cat([own, theirs[name]], 1) for name, own in self.tensors().items()})

    def revert(self, ok: Tensor, previous: "SemanticScope | None") -> "SemanticScope":
        """Return the scope; where `ok` fails, edits that `previous` has not mean nothing."""
        known = torch.arange(self.live.shape[1], device=ok.device) < (0 if previous is None else previous.live.shape[1])
        return replace(self, live=self.live & (ok[:, None] | known))

    def standalone(self) -> Standalone:
        """Return the edits' questions, and what they are compared with."""
        own = {name: value[0] for name, value in self.tensors().items()}
        for place, space in enumerate(self.spaces):
            own |= {} if space.map is None else {f"map.{place}": space.map}
            own |= {f"pool.{place}": space.keys} if self.pool_competes else {}
        settings = {"reads": list(self.reads_unedited), "layers": list(self.layers), "one_gate": self.one_gate}
        settings |= {"text_competes": self.text_competes}
        file = Path(__file__).with_name("beside_scope.py")
        return Standalone((file,), "Scope", own, settings | {"tie": TIE, "least": LEAST})

    def of_requests(self, requests: Sequence[EditRequest], states: Tensor, texts: Tensor) -> "SemanticScope":
        """Return the scope of one request per session.

        states, texts [session, space, d]: of their questions, and of the same without pictures.
        """
        device = states.device
        values = [[[space.by_task[request.task] for space in self.spaces]] for request in requests]
        thresholds, temperatures = torch.tensor(values, device=device).unbind(-1)
        return replace(
            self,
            keys=self._project(states)[:, None],
            text_keys=self._project(texts)[:, None],
            thresholds=thresholds,
            temperatures=temperatures,
            live=torch.ones(len(requests), 1, dtype=torch.bool, device=device),
        )

    def _project(self, states: Tensor) -> Tensor:
        """Return states [row, space, d] as they are compared, [row, space, width]."""
        return torch.stack([space.project(states[:, place]) for place, space in enumerate(self.spaces)], 1)

    def shares(self, states: Tensor) -> Tensor:
        """Return how far questions with such states [row, space, d] are meant by each edit, [row, space, edit].

        Rows are ordered by session, the same number for each.
        """
        asked_in, found = self._project(states).unflatten(0, (len(self.keys), -1)), []
        for place, space in enumerate(self.spaces):
            asked = asked_in[:, :, place]
            cosines = self._cosines(asked, self.keys[:, :, place], self.live)
            nearest = (cosines / TIE).round().flip(2).max(2)
            edits = cosines.shape[2] - 1 - nearest.indices[..., None]
            near = cosines.gather(2, edits)
            far = (near - self.thresholds[:, None, :, place].expand_as(cosines).gather(2, edits)) / (
                self.temperatures[:, None, :, place].expand_as(cosines).gather(2, edits)
            )
            share = torch.where(far.sigmoid() < LEAST, 0.0, far.sigmoid())
            if self.pool_competes:
                share = share * (near >= (asked @ space.keys.T).amax(2, keepdim=True))
            if self.text_competes:
                texts = self._cosines(asked, self.text_keys[:, :, place], self.live)
                share = share * (near >= texts.amax(2, keepdim=True) - TIE)
            found.append((share if self.one_gate else torch.zeros_like(cosines).scatter(2, edits, share)).flatten(0, 1))
        return torch.stack(found, 1)

    @staticmethod
    def _cosines(asked: Tensor, keys: Tensor, counted: Tensor) -> Tensor:
        """Return cosines [session, row, edit] of questions [session, row, width] with keys that count, else -inf."""
        return (asked @ keys.transpose(1, 2)).masked_fill(~counted[:, None], -torch.inf)

    def begin(self, context: PassContext) -> None:
        """Write the shares of the pass, once for all tokens of the rows."""
        if context.shares or self.empty:
            return
        if context.unedited is None:
            raise ValueError("semantic scope: expected the states of the unedited model (see `answer_logits`)")
        shares = self.shares(context.unedited)
        context.shares |= {layer: shares[:, place] for place, layer in enumerate(self.layers)}


def start_scope(settings: ScopeSettings, backbone: Backbone, sources: EditorSources) -> SemanticScope:
    """Return the scope of no edit and no session."""
    known = sources.scope()
    spaces: tuple[ScopeSpace, ...]
    layers: tuple[int | None, ...] = (None,)
    if settings.semantic_state == "paper":
        spaces, layers = tuple(known.space("raw", layer) for layer in backbone.layers), backbone.layers
    elif settings.semantic_state == "trained":
        spaces = (known.space("trained", backbone.layers[0]),)
    else:
        spaces = (known.space("raw", known.chosen if settings.semantic_layer is None else settings.semantic_layer),)
    spaces, device = tuple(space.to(backbone.device) for space in spaces), backbone.device
    none = torch.zeros(0, 0, len(spaces), device=device)
    keys = torch.zeros(*none.shape, spaces[0].keys.shape[1], device=device)
    live = torch.zeros(0, 0, dtype=torch.bool, device=device)
    readings = settings.gate == "any", settings.rivals == "pool", settings.text_rival
    return SemanticScope(spaces, layers, *readings, keys, keys, none, none, live)


def behind_scope(settings: Any, editor: Editor, backbone: Backbone, sources: EditorSources) -> Editor:
    """Return the editor behind the scope that its settings ask for; the editor itself without one."""
    if settings.scope == "none":
        return editor
    return ScopedEditor(editor, backbone, start_scope(settings, backbone, sources))


@dataclass(frozen=True)
class ScopedEditor:
    """An editor whose edits act as far as the scope of each reaches.

    While an edit is made, its own share is 1 and that of earlier ones 0, because no question is nearer than its own: an
    edit is what it would be as the first of its session, and costs as much.
    """

    editor: Editor
    backbone: Backbone
    scope: SemanticScope

    def start(self, sessions: int) -> Patch:
        """Return the patch of unedited sessions, with a scope of nothing."""
        shapes = {name: (sessions, *value.shape[1:]) for name, value in self.scope.tensors().items()}
        own = {name: value.new_zeros(shapes[name]) for name, value in self.scope.tensors().items()}
        return Patch(sessions, (self.scope.with_tensors(own), *self.editor.start(sessions).parts))

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session."""
        scope = previous.part(SemanticScope)
        assert scope is not None
        queries = [each.query for each in requests]
        texts = [replace(query, image=None) for query in queries] if scope.text_competes else queries
        layers = [each.layer for each in scope.spaces]
        states, text_states = prompt_states(self.backbone, [*queries, *texts], layers).chunk(2)
        given = GivenShares(scope.layers, states.new_ones(len(requests), len(scope.spaces), 1))
        shared = [part for part in previous.parts if not isinstance(part, SemanticScope | PerEdit)]
        outcome = self.editor.edit(requests, Patch(previous.sessions, (given, *shared)))
        patch = previous.append(scope.of_requests(requests, states, text_states))
        for part in outcome.patch.parts:
            if isinstance(part, GivenShares):
                continue
            patch = (patch if isinstance(part, PerEdit) else patch.without(type(part))).append(part)
        if any(failure is not None for failure in outcome.failures):  # else a long session is not copied once more
            ok = torch.tensor([failure is None for failure in outcome.failures], device=self.backbone.device)
            patch = patch.revert(ok, previous)
        return EditResult(patch, outcome.failures)
