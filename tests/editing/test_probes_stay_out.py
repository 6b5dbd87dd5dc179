"""What an edit sees: requests, and questions of the method split. Never a probe by which it is scored.

A spy on every way in: what `edit` is given, all texts that are made tokens and all pictures that are looked at while an
editor is trained, built, or edits; of every variant of the default run, in sessions of the real `run_edits`.
"""

from dataclasses import fields, is_dataclass

import pytest
import torch
from neuron_knowledge import LAYERS, make_knowledge
from room_editors import room_editor
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.method import default_methods
from unike_lib.types import EditCase, EditRequest, Probe, Query

SETTINGS = EvaluationConfig(sessions=2, max_new_tokens=2, criteria=("token", "mmedit"))
SPLIT = [make_case(index, target) for index, target in enumerate(["hot dog", "cat", "red owl left", "blue"])]


def evaluated(number, prompt, target, then=()):
    """An edit whose every probe has words and a picture that nothing else has."""
    request = EditRequest(f"eval-{number}", "vqa", f"own {number}", prompt, target)
    own = lambda kind: f"{kind} of {number}"  # noqa: E731
    probes = (
        Probe("rel", request.query),
        Probe("t_gen", Query(request.image, own("t_gen words"), target), aliases=(own("t_gen alias"),)),
        Probe("m_gen", Query(own("m_gen picture"), prompt, target)),
        Probe("t_loc", Query(None, own("t_loc words"), own("t_loc answer"))),
        Probe("m_loc", Query(own("m_loc picture"), own("m_loc words"), own("m_loc answer"))),
        Probe("near_picture", Query(own("near picture"), prompt)),
        Probe("portability", Query(request.image, own("portability words"), own("portability answer"))),
    )
    return EditCase(request, probes, (f"fact {number}",), then)


MORE = EditRequest("eval-more", "vqa", "own more", "is it a dog ?", "red cat")
CASES = [
    evaluated(0, "what cat is this ?", "hot owl"),
    evaluated(1, "name this owl", "a red dog", (MORE,)),
    evaluated(2, "is this red ?", "blue owl"),
]
REQUESTS = [request for case in CASES for request in case.requests]
ALLOWED = {text for each in REQUESTS for text in (each.id, each.prompt, each.target, each.image)}
SECRETS = {
    text
    for case in CASES
    for probe in case.probes
    for text in (probe.query.prompt, probe.query.answer, probe.query.image, *probe.aliases)
    if text and text not in ALLOWED
}


def texts_in(value, seen):
    """All texts that hang on a value: its fields, items, attributes, and theirs."""
    if isinstance(value, str):
        return [value]
    if value is None or isinstance(value, bool | int | float | torch.Tensor | torch.nn.Module | Backbone):
        return []
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, dict):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(value)
    else:
        inside = [*getattr(value, "__dict__", {}).values()]
        inside += [getattr(value, each.name) for each in fields(value)] if is_dataclass(value) else []
    return [text for each in inside for text in texts_in(each, seen)]


class Spy:
    """What reaches an editor: `texts` at work and those that it holds; `given`, `kinds`: what `edit` is given."""

    def __init__(self, backbone, monkeypatch):
        self.backbone, self.listening, self.texts, self.given, self.kinds = backbone, False, [], [], set()
        tokenizer, encode, images = type(backbone.tokenizer), Backbone.encode, backbone.images
        tokens = tokenizer.__call__

        def tokenise(own, text=None, *args, **named):
            self.hear([text] if isinstance(text, str) else [*text])
            return tokens(own, text, *args, **named)

        def lay_out(own, queries, *args):
            self.hear(texts_in(list(queries), set()))
            return encode(own, queries, *args)

        def look(names):
            self.hear(names)
            return images(names)

        monkeypatch.setattr(tokenizer, "__call__", tokenise)
        monkeypatch.setattr(Backbone, "encode", lay_out)
        monkeypatch.setattr(backbone, "images", look)

    def hear(self, texts):
        self.texts += texts if self.listening else []

    def during(self, work):
        """Do some work of an editor, and listen."""
        before, self.listening = self.listening, True
        found = work()
        self.listening = before
        return found

    def watch(self, editor, monkeypatch):
        """Listen whenever this editor edits; look at what it is given, what it then holds and leaves behind."""
        edit = type(editor).edit

        def spied(own, requests, previous):
            self.kinds |= {type(requests), *map(type, requests), type(previous)}
            self.given += texts_in([*requests], set())
            found = self.during(lambda: edit(own, requests, previous))
            self.texts += texts_in(own, set()) + texts_in(found.patch, set())
            return found

        monkeypatch.setattr(type(editor), "edit", spied)
        return editor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_knowledge(tmp_path_factory.mktemp("knowledge")).folder


@pytest.fixture(scope="module")
def backbone():
    torch.set_num_threads(1)
    model = tiny_model("minigpt4", max_position_embeddings=512)  # contexts of several edits are long
    return Backbone(model, tiny_tokenizer(), FAMILIES["minigpt4"], tiny_images, LAYERS, "question : {} short answer :")


@pytest.fixture(scope="module")
def before(backbone):
    return answer_before(backbone, CASES, SETTINGS)


@pytest.mark.parametrize("name", default_methods())
def test_an_edit_sees_requests_and_the_method_split_alone(name, backbone, before, folder, monkeypatch):
    spy = Spy(backbone, monkeypatch)
    editor = spy.watch(spy.during(lambda: room_editor(name, backbone, folder, SPLIT)), monkeypatch)
    scores = run_edits(backbone, editor, {1: CASES, 3: CASES}, before, SETTINGS)
    assert {score.status for score in scores} == {"ok"}
    asked = {(score.case, score.kind) for score in scores}
    assert len(asked) == sum(len(case.probes) for case in CASES)  # and so are all probes asked, beside the edits
    assert spy.kinds == {list, EditRequest, Patch}
    assert set(spy.given) == {"vqa", *ALLOWED}
    assert name == "base" or spy.texts
    heard = " | ".join({*spy.given, *spy.texts})
    assert not [secret for secret in SECRETS if secret in heard]


def test_the_spy_would_hear_of_every_probe(backbone, before, monkeypatch):
    """Were probes asked while it listens; of answers the editor's own may be asked alone."""
    spy = Spy(backbone, monkeypatch)
    spy.during(lambda: answer_before(backbone, CASES, SETTINGS))
    asked = {probe.query for case in CASES for probe in case.probes}
    wanted = {text for each in asked for text in (each.prompt, each.image, each.answer) if text}
    assert {secret for secret in SECRETS if secret in wanted} <= set(spy.texts)
    assert len(SECRETS) == 3 * 11 and not any(secret in " | ".join(ALLOWED) for secret in SECRETS)


def test_texts_are_found_wherever_they_hang():
    class Holder:
        def __init__(self):
            self.kept = {"one": [EditRequest("two", "vqa", "three", "four", "five")], "six": ({"seven"}, None)}

    assert {*texts_in(Holder(), set())} == {"one", "two", "vqa", "three", "four", "five", "six", "seven"}
