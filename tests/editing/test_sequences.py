"""Three edits of a session, one on top of the other, against models that are changed by hand after each edit.

What one edit does is held by the tests of each method. Here position 2 must see position 1: the twin writes each edit
into a real copy of the model, in Hugging Face's own classes, and makes the next one there.
"""

from dataclasses import replace

import pytest
import torch
from patches import changes_of, contexts_of, factors_of, neurons_of, slots_of, with_slots
from taught import taught_losses
from test_editors import LAYERS, fine_tune, tpatcher, unike
from test_hypernetworks import EDITORS as NETWORKS
from test_hypernetworks import dense
from test_patch import bake_neurons
from test_serac import settings as serac_settings
from tiny_models import QUERIES, make_case

from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.editor import NoEdit
from unike_lib.editing.patch import Patch
from unike_lib.methods.fine_tune.editor import ON_CPU
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.ike.editor import Ike
from unike_lib.methods.ike.settings import IkeMethod
from unike_lib.methods.serac.editor import Serac, SeracModels
from unike_lib.methods.shared.neurons import ExtraNeurons
from unike_lib.methods.unike.latent_shift import Slots

# Two sessions; each edit of one is another's at another position.
SEQUENCES = ([0, 1, 2], [2, 4, 1])


def requests_at(cases, position):
    return [cases[order[position]].request for order in SEQUENCES]


def edited(editor, cases):
    """Return the patch after three edits in each of two sessions."""
    patch = editor.start(len(SEQUENCES))
    for position in range(3):
        outcome = editor.edit(requests_at(cases, position), patch)
        assert outcome.failures == (None, None)
        patch = outcome.patch
    return patch


def real_logits(backbone, query):
    """Return Hugging Face's logits [token, vocabulary] of one question in the model as it stands."""
    return backbone.model.language_model(inputs_embeds=backbone.encode([query]).embeddings).logits[0]


def patched_logits(backbone, patch, session):
    """Return what the session says to each question, [token, vocabulary] each."""
    said = answer_logits(backbone, QUERIES, patch.select([session]), everywhere=True)
    return said.logits.split(said.where.sum(1).tolist())


def assert_answers_like(backbone, patch, session, twin, atol=1e-4, shift=None):
    """Every question is answered as by the twin; under a shift, that acts beside the twin's own weights."""
    ours = patched_logits(backbone, patch, session)
    theirs = [real_logits(twin, query) for query in QUERIES] if shift is None else patched_logits(twin, shift, 0)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=atol, rtol=0)


def apart(backbone, patch, other):
    """Return how far two patches of two sessions answer from each other."""
    pairs = (
        (patched_logits(backbone, patch, session), patched_logits(backbone, other, session)) for session in range(2)
    )
    return min(float((torch.cat(one) - torch.cat(two)).abs().max()) for one, two in pairs)


def each_alone(editor, cases):
    """Return the patches of the same edits, each made on the unedited model."""
    return [editor.edit(requests_at(cases, position), editor.start(2)).patch for position in range(3)]


def test_without_edits_three_positions_leave_the_real_model(family, make_backbone, cases):
    backbone = make_backbone(family)
    for session in range(2):
        assert_answers_like(backbone, edited(NoEdit(), cases), session, make_backbone(family), 1e-5)


@pytest.mark.parametrize("ends", [True, False])
def test_fine_tuning_goes_on_from_the_weights_that_it_left(family, make_backbone, cases, ends):
    backbone = make_backbone(family)
    editor = fine_tune(backbone, teach_end=ends)
    patch = edited(editor, cases)
    for session, order in enumerate(SEQUENCES):
        twin = make_backbone(family)
        layer = twin.decoder.layers[-1]
        weights = [layer.part(name).weight.requires_grad_(True) for name in layer.names.ffn_matrices]
        for number in order:
            batch = twin.encode([cases[number].request.query])
            optimiser = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)  # a new one for each edit
            for _ in range(4):
                optimiser.zero_grad()
                logits = twin.model.language_model(inputs_embeds=batch.embeddings).logits
                taught_losses(logits[0], twin.answer_ids(cases[number].request.target), ends).mean().backward()
                optimiser.step()
        assert_answers_like(backbone, patch, session, twin, 2e-2)
    if ends:
        return
    # Edits that know nothing of each other, added up, are something else.
    added = Patch(2)
    for alone in each_alone(editor, cases):
        added = added.append(WeightChanges(changes_of(alone)))
    assert apart(backbone, patch, added) > 0.1


FAST = {"steps": 3, "learning_rate": 0.1, "neurons": 2}
NEURONS = {
    "t-patcher": lambda backbone: tpatcher(backbone, **FAST),
    "unike": lambda backbone: unike(backbone, **FAST),
    "unike, trained without its shift": lambda backbone: unike(backbone, shift_in_training=False, **FAST),
}


@pytest.mark.parametrize(
    ("family", "name"),
    [("blip2", "t-patcher"), ("minigpt4", "unike"), ("blip2", "unike, trained without its shift")],
)
def test_neurons_are_trained_in_a_model_that_has_the_earlier_ones(make_backbone, cases, family, name):
    """The twin's model is widened for good by each edit's neurons; its editor knows of no edit before."""
    backbone, make = make_backbone(family), NEURONS[name]
    patch = edited(make(backbone), cases)
    twin = make_backbone(family)
    for number in SEQUENCES[1]:
        editor = make(twin)
        one = editor.edit([cases[number].request], editor.start(1)).patch
        for layer in LAYERS:
            bake_neurons(twin, layer, neurons_of(one)[layer], 0)
    assert_answers_like(backbone, patch, 1, twin, 1e-2, None if name == "t-patcher" else editor.start(1))
    added = make(backbone).start(2)
    for alone in each_alone(make(backbone), cases):
        added = added.append(ExtraNeurons(neurons_of(alone)))
    assert apart(backbone, patch, added) > 0.1


def test_memory_entries_of_earlier_edits_shift_the_training_of_later_ones(make_backbone, cases):
    """Entries are states of the unedited model; neurons are trained with all entries so far in the memory."""
    backbone = make_backbone("minigpt4")
    editor = unike(backbone, edit_slots=True, **FAST)
    editor = replace(editor, shift=replace(editor.shift, retrieval_temperature=0.5, alpha=0.3))
    patch, single = edited(editor, cases), each_alone(editor, cases)
    twin, entries = make_backbone("minigpt4"), {}
    for position, number in enumerate(SEQUENCES[1]):
        plain = replace(unike(twin, **FAST), shift=editor.shift)  # gives its edits no entries
        for layer in LAYERS:
            new = slots_of(single[position])[layer]
            old = [entries[layer]] if position else []
            keys = torch.cat([*(slots.keys for slots in old), new.keys[1:]], 1)
            entries[layer] = Slots(keys, torch.cat([*(slots.values for slots in old), new.values[1:]], 1))
        one = plain.edit([cases[number].request], with_slots(plain.start(1), entries)).patch
        for layer in LAYERS:
            bake_neurons(twin, layer, neurons_of(one)[layer], 0)
    for layer in LAYERS:
        for part in ("keys", "values"):
            ours, theirs = (getattr(found, part) for found in (slots_of(patch)[layer], entries[layer]))
            torch.testing.assert_close(ours[1], theirs[0], atol=1e-5, rtol=0)
    assert_answers_like(backbone, patch, 1, twin, 1e-2, with_slots(plain.start(1), entries))


@pytest.mark.parametrize("name", NETWORKS)
def test_changes_of_networks_add_up_in_the_real_weights(family, make_backbone, cases, name):
    """Reading: the gradient of every edit is taken at the unedited backbone, whatever was edited before."""
    backbone = make_backbone(family)
    editor = NETWORKS[name](backbone)
    patch = edited(editor, cases)
    for session, order in enumerate(SEQUENCES):
        twin = make_backbone(family)
        for number in order:
            one = editor.edit([cases[number].request], editor.start(1)).patch
            for layer, changes in factors_of(one).items():
                for matrix, factors in changes.items():
                    twin.decoder.layers[layer].part(matrix).weight.data += dense(factors)[0]
        assert_answers_like(backbone, patch, session, twin, 1e-3)
    assert apart(backbone, patch, each_alone(editor, cases)[2]) > 1e-2


@pytest.mark.parametrize("prompt", ["mmedit", "wrapped"])
def test_facts_of_a_context_follow_each_other_in_the_order_of_the_edits(make_backbone, cases, prompt):
    """Behind the demonstrations of the first; a question's row is Hugging Face's own behind that text."""
    backbone = make_backbone("minigpt4")
    settings = IkeMethod(method="ike", demonstrations=3, prompt=prompt)
    editor = Ike.from_cases(backbone, settings, [make_case(8, "red")])
    words = ["this", "cat", "dog", "red", "owl"]
    facts = [replace(case.request, prompt=f"name {word}") for case, word in zip(cases, words, strict=True)]
    patch, first = editor.start(2), ()
    for position in range(3):
        patch = editor.edit([facts[order[position]] for order in SEQUENCES], patch).patch
        first = first or contexts_of(patch)
    for session, order in enumerate(SEQUENCES):
        told, context = (
            [f"New Fact: {facts[number].prompt} {facts[number].target}\n" for number in order],
            contexts_of(patch)[session],
        )
        places = [context.index(fact) for fact in told]
        assert places == sorted(places)
        demonstrations = first[session].split(told[0])[0]
        assert demonstrations.count("New Fact: ") == 3 and context.startswith(demonstrations)
        for mine, query in zip(patched_logits(backbone, patch, session), QUERIES, strict=True):
            asked = replace(query, context=context, style=query.style if prompt == "wrapped" else "plain")
            torch.testing.assert_close(mine, real_logits(backbone, asked), atol=1e-4, rtol=0)


def test_of_three_stored_edits_the_nearest_answers_and_of_equal_ones_the_latest(make_backbone, cases):
    """Distances by a loop over single texts; the answer is that of a session which stored the nearest edit alone."""
    backbone = make_backbone("blip2")
    torch.manual_seed(0)
    models = SeracModels.untrained(backbone, serac_settings())
    editor = Serac(models)
    prompts = ["name it", "what is on the left ?", "name it"]  # two of a distance
    requests = [replace(case.request, prompt=prompt) for case, prompt in zip(cases, prompts, strict=False)]
    patch = editor.start(1)
    for request in requests:
        patch = editor.edit([request], patch).patch
    vector = {text: models.vectors([text])[0].detach() for text in [*prompts, *(query.prompt for query in QUERIES)]}
    chosen = []
    for row, query in enumerate(QUERIES):
        distances = [float((vector[query.prompt] - vector[request.prompt]).square().sum()) for request in requests]
        nearest = max(range(3), key=lambda number: (-round(distances[number], 5), number))
        chosen.append(nearest)
        alone = editor.edit([requests[nearest]], editor.start(1)).patch
        torch.testing.assert_close(
            patched_logits(backbone, patch, 0)[row], patched_logits(backbone, alone, 0)[row], atol=1e-4, rtol=0
        )
    assert chosen[3] == 2 and set(chosen) == {1, 2}


def in_context(backbone):
    told = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=1), [make_case(8, "red")])
    return replace(unike(backbone, **FAST), ike=told)


CAN_FAIL = {
    "fine-tune": ("minigpt4", fine_tune),
    "fine-tune in parts": ("blip2", fine_tune),
    "t-patcher": ("blip2", NEURONS["t-patcher"]),
    "unike": ("minigpt4", NEURONS["unike"]),
    "unike with entries": ("blip2", lambda backbone: unike(backbone, edit_slots=True, **FAST)),
    "unike behind contexts": ("minigpt4", in_context),
    "mend": ("blip2", NETWORKS["mend"]),
    "ke": ("minigpt4", NETWORKS["ke"]),
}


BROKEN = replace(make_case(7, "blue").request, image="broken")  # its picture is no numbers, so its loss is none


def seeing_broken(backbone):
    images = backbone.images

    def see(names):
        found = images(names)
        found[[name == "broken" for name in names]] = torch.nan
        return found

    backbone.images = see
    return backbone


def close(ours, theirs, atol):
    return all(torch.allclose(one, two, atol=atol, rtol=0) for one, two in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", CAN_FAIL)
def test_a_failed_second_edit_is_as_if_it_had_never_been_asked(make_backbone, cases, name, monkeypatch):
    """The session keeps what it had and is edited on from there; the session beside it notices nothing."""
    family, make = CAN_FAIL[name]
    backbone = seeing_broken(make_backbone(family))
    if name == "fine-tune in parts":  # room for one session at a time
        parts = map(backbone.decoder.layers[-1].part, backbone.decoder.names.ffn_matrices)
        room = ON_CPU * 16 * sum(part.weight.numel() for part in parts)
        monkeypatch.setattr("unike_lib.methods.fine_tune.editor.OPTIMISER_BYTES", room)
    editor = make(backbone)
    first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
    second = editor.edit([BROKEN, cases[4].request], first)
    third = editor.edit(requests_at(cases, 2), second.patch)
    assert (second.failures, third.failures) == (("loss is not finite", None), (None, None))
    beside = editor.edit([cases[3].request, cases[4].request], first).patch
    never = editor.edit([cases[2].request], first.select([0])).patch
    said = patched_logits(backbone, first, 0)
    assert close(patched_logits(backbone, second.patch, 0), said, 1e-5)
    assert close(patched_logits(backbone, second.patch, 1), patched_logits(backbone, beside, 1), 1e-2)
    assert close(patched_logits(backbone, third.patch, 0), patched_logits(backbone, never, 0), 1e-2)
    # None of it would hold if edits did nothing.
    if name == "unike behind contexts":
        assert contexts_of(second.patch) == (contexts_of(first)[0], contexts_of(beside)[1]) != contexts_of(beside)
        assert contexts_of(third.patch)[0] == contexts_of(never)[0]
    else:
        assert not close(patched_logits(backbone, third.patch, 0), said, 0.05)


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_second_edit_that_explodes_leaves_the_weights_of_the_first(make_backbone, cases, sessions):
    """Finite at the first step, not at the last; neurons that fell silent between them have large, finite weights."""
    backbone, requests = make_backbone("blip2"), [case.request for case in cases[:sessions]]
    first = fine_tune(backbone).edit(requests, Patch(sessions)).patch
    outcome = fine_tune(backbone, learning_rate=1e20).edit(requests[::-1], first)
    assert outcome.failures == ("loss is not finite",) * sessions
    for layer, changes in changes_of(first).items():
        for name, change in changes.items():
            assert torch.equal(changes_of(outcome.patch)[layer][name], change)


def test_methods_that_read_text_alone_do_not_fail_on_a_picture(make_backbone, cases):
    backbone = seeing_broken(make_backbone("blip2"))
    torch.manual_seed(0)
    for editor in (
        Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=0), cases[3:]),
        Serac(SeracModels.untrained(backbone, serac_settings())),
    ):
        first = editor.edit(requests_at(cases, 0), editor.start(2)).patch
        outcome = editor.edit([BROKEN, cases[4].request], first)
        assert outcome.failures == (None, None)
        assert all(row.isfinite().all() for row in patched_logits(backbone, outcome.patch, 0))
