"""IKE (Zheng et al. 2023): editing by what stands in front of the question, nothing inside the model changes.

A context shows how facts are used, by demonstrations from the method-training split, and then the new fact:

    New Fact: {question} {answer}          copy: the fact's own question
    Prompt: {question} {answer}

    New Fact: ...                          rephrase, then locality: an unrelated question keeps its answer
    Prompt: ...

    New Fact: {new question} {new answer}
    Prompt: {the question that is asked}

As in EasyEdit ("mmedit"), similar demonstrations are found by the new fact's own copy demonstration, which then stands
behind them, and the question is asked as it stands, like theirs. The other reading ("wrapped") finds training edits by
question and answer, has no copy of the new fact, and asks the question in the backbone's template.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from unike_lib.backbones.backbone import Backbone
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult
from unike_lib.editing.patch import Patch
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.ike.retrieval import TextIndex, text_encoder
from unike_lib.methods.ike.settings import ContextSettings
from unike_lib.types import EditCase, EditRequest

FACT, PROMPT, END, GAP = "New Fact: ", "Prompt: ", "\n", "\n\n"
SHOWN: tuple[str, ...] = ("rel", "t_gen", "t_loc")  # copy, rephrase, locality


def demonstrations_of(case: EditCase) -> list[str]:
    """Return the three demonstrations of one training edit, in their fixed order; fewer where it asks fewer."""
    return [_demonstration(case.request, f"{query.prompt} {query.answer}") for query in case.queries(SHOWN)]


def _demonstration(request: EditRequest, said: str) -> str:
    return f"{_fact(request)}{PROMPT}{said}{GAP}"


def _copy(request: EditRequest) -> str:
    return _demonstration(request, _sentence(request))


def _fact(request: EditRequest) -> str:
    return f"{FACT}{request.prompt} {request.target}{END}"


def _sentence(request: EditRequest) -> str:
    """Return question and answer."""
    return f"{request.prompt} {request.target}"


def _with_copy(context: str, request: EditRequest) -> str:
    """Return a context with the fact's copy behind all demonstrations, that is in front of the facts told so far."""
    facts = context.rindex(GAP + FACT) + len(GAP) if context.endswith(PROMPT) else len(context)
    return context[:facts] + _copy(request) + context[facts:]


def build(settings: ContextSettings, backbone: Backbone, sources: EditorSources, seed: int) -> "Ike":
    """Return the editor, with the method-training split as its store of demonstrations."""
    return Ike.from_cases(backbone, settings, sources.method_split())


@dataclass(frozen=True)
class Ike:
    """Demonstrations of the training edits most similar to the new one, the new fact, then the question.

    `demonstrations` counts single demonstrations, of which a training edit has three; the nearest stand first. Reading:
    the paper uses one-step editing only; in longer sessions the new facts follow each other, in the order of the edits,
    behind the demonstrations of the first (and, by `mmedit`, behind their own copies). Nor is the question before the
    edit asked without its template, as in EasyEdit: all methods share the answers before.

    shown: what is found together: single demonstrations (`mmedit`), or the three of a training edit.
    """

    count: int
    shown: Sequence[Sequence[str]]
    index: TextIndex
    mmedit: bool

    @classmethod
    def from_cases(cls, backbone: Backbone, settings: ContextSettings, cases: Sequence[EditCase]) -> "Ike":
        """Return the editor with the training split's edits as its store."""
        encoder, shown = text_encoder(settings.retriever, backbone), [demonstrations_of(case) for case in cases]
        if settings.prompt == "mmedit":
            lines = [line for of_case in shown for line in of_case]
            return cls(settings.demonstrations, [[line] for line in lines], TextIndex(encoder, lines), True)
        return cls(settings.demonstrations, shown, TextIndex(encoder, [_sentence(c.request) for c in cases]), False)

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Put one more fact per session into its context."""
        return EditResult(self.told(requests, previous), (None,) * len(requests))

    def told(self, requests: Sequence[EditRequest], previous: Patch) -> Patch:
        """Return the patch whose contexts tell one more fact per session."""
        contexts = previous.part(Contexts)
        earlier = [""] * len(requests) if contexts is None else list(contexts.texts)
        fresh = [session for session, context in enumerate(earlier) if not context]
        for session, shown in zip(fresh, self._demonstrations([requests[each] for each in fresh]), strict=True):
            earlier[session] = shown
        if self.mmedit:
            earlier = [_with_copy(old, new) for old, new in zip(earlier, requests, strict=True)]
        texts = [old.removesuffix(PROMPT) + _fact(new) + PROMPT for old, new in zip(earlier, requests, strict=True)]
        return previous.append(Contexts(tuple(texts), self.mmedit))

    def _demonstrations(self, requests: Sequence[EditRequest]) -> list[str]:
        """Return the demonstrations for each request, as one text."""
        if not requests or not self.count:
            return [""] * len(requests)
        sought = [_copy(request) if self.mmedit else _sentence(request) for request in requests]
        found = self.index.nearest(sought, -(-self.count // len(self.shown[0])))
        lines = [[line for near in nearest for line in self.shown[near]] for nearest in found]
        return ["".join(some[: self.count]) for some in lines]
