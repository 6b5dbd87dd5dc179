"""IKE (Zheng et al. 2023): editing by what stands in front of the question, nothing inside the model changes.

A context shows how facts are used, by demonstrations from the method-training split, and then the new fact:

    New Fact: {question} {answer}          copy: the fact's own question
    Prompt: {question} {answer}

    New Fact: ...                          rephrase, then locality: an unrelated question keeps its answer
    Prompt: ...

    New Fact: {new question} {new answer}
    Prompt: {the question that is asked}
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unike_lib.backbones.base import Backbone
from unike_lib.editing.editor import Outcome
from unike_lib.editing.patch import Patch
from unike_lib.editing.retrieval import TextIndex, text_encoder
from unike_lib.methods import ContextSettings
from unike_lib.types import EditCase, EditRequest, ProbeKind

FACT, PROMPT, END, GAP = "New Fact: ", "Prompt: ", "\n", "\n\n"
SHOWN: tuple[ProbeKind, ...] = ("rel", "t_gen", "t_loc")  # copy, rephrase, locality


def demonstrations_of(case: EditCase) -> list[str]:
    """Return the three demonstrations of one training edit, in their fixed order."""
    asked = {probe.kind: probe.query for probe in case.probes}
    fact = _fact(case.request)
    return [f"{fact}{PROMPT}{asked[kind].prompt} {asked[kind].answer}{GAP}" for kind in SHOWN]


def _fact(request: EditRequest) -> str:
    return f"{FACT}{request.prompt} {request.target}{END}"


def _sentence(request: EditRequest) -> str:
    """Return what retrieval compares: question and answer."""
    return f"{request.prompt} {request.target}"


@dataclass(frozen=True)
class Ike:
    """Demonstrations of the training edits most similar to the new one, the new fact, then the question.

    Reading: `demonstrations` counts single demonstrations, three a training edit, nearest edit first (the released code
    counts sentences of its store, of which a training edit has three). The paper uses one-step editing only; in longer
    sessions the new facts follow each other, in the order of the edits, behind the demonstrations of the first.
    """

    count: int
    shown: Sequence[Sequence[str]]
    index: TextIndex

    @classmethod
    def from_cases(cls, backbone: Backbone, settings: ContextSettings, cases: Sequence[EditCase]) -> "Ike":
        """Return the editor with the training split's edits as its store."""
        encoder = text_encoder(settings.retriever, backbone)
        index = TextIndex(encoder, [_sentence(case.request) for case in cases])
        return cls(settings.demonstrations, [demonstrations_of(case) for case in cases], index)

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch.identity(sessions)

    def edit(self, requests: Sequence[EditRequest], onto: Patch) -> Outcome:
        """Put one more fact a session into its context."""
        return Outcome(self.told(requests, onto), (None,) * len(requests))

    def told(self, requests: Sequence[EditRequest], onto: Patch) -> Patch:
        """Return the patch whose contexts tell one more fact a session."""
        earlier = onto.contexts
        if not earlier:
            found = self.index.nearest([_sentence(request) for request in requests], -(-self.count // len(SHOWN)))
            lines = [[line for near in nearest for line in self.shown[near]] for nearest in found]
            earlier = tuple("".join(some[: self.count]) for some in lines)
        contexts = zip(earlier, requests, strict=True)
        return replace(onto, contexts=tuple(old.removesuffix(PROMPT) + _fact(new) + PROMPT for old, new in contexts))
