"""Positive control on tiny random backbones: contexts, slots and readouts against loops and closed forms."""

import dataclasses

import pytest
import torch
from patches import latent_shift
from tiny_models import make_case

from unike_lib.config.evaluation import PositiveControlConfig
from unike_lib.evaluation import positive_control
from unike_lib.evaluation.context_visibility import answer_scores, behind, run_visible
from unike_lib.evaluation.control_parts import parts_of
from unike_lib.evaluation.oracle_memory import OwnSlots, demonstration_states, run_shifted, states_entering
from unike_lib.evaluation.positive_control import PositiveControl, other_facts, scan_starts, window_layers
from unike_lib.evaluation.readout import decode_answers, variance_share
from unike_lib.knowledge.memory import Memory
from unike_lib.types import EditCase, InputError, Query

DEMONSTRATIONS = [Query("image-1", "name it", "hot dog"), Query(None, "what is a cat ?", "red")]
QUESTIONS = [Query("image-1", "what is this ?", "dog"), Query("image-2", "a photo of", "a cat on", "plain")]
LAYERS = 6


@pytest.fixture
def rows(backbone):
    return behind(backbone, DEMONSTRATIONS, QUESTIONS)


def test_a_context_precedes_its_query_and_is_no_target(backbone, rows):
    batch, context = rows
    first, second = backbone.encode(DEMONSTRATIONS), backbone.encode(QUESTIONS)
    for row, (start, end) in enumerate(zip(context.tolist(), batch.lengths.tolist(), strict=True)):
        torch.testing.assert_close(
            batch.embeddings[row, : first.lengths[row]], first.embeddings[row, : first.lengths[row]]
        )
        torch.testing.assert_close(batch.embeddings[row, start:end], second.embeddings[row, : end - start])
        assert start == first.lengths[row] + 1
        assert (batch.targets[row, :start] < 0).all()
        assert batch.targets[row, start:end].tolist() == second.targets[row, : end - start].tolist()
        assert batch.last_prompt[row] - start == second.last_prompt[row]


def test_a_context_visible_everywhere_is_the_models_own_forward(backbone, rows):
    batch, context = rows
    ((_, hidden),) = run_visible(backbone.decoder, batch, context, {"all": range(LAYERS)})
    logits = backbone.decoder.logits(backbone.decoder.finish(hidden))
    for row, length in enumerate(batch.lengths):
        expected = backbone.model.language_model(inputs_embeds=batch.embeddings[row : row + 1, :length]).logits[0]
        torch.testing.assert_close(logits[row, :length], expected, atol=1e-5, rtol=1e-5)


def test_a_context_visible_nowhere_is_the_query_alone_at_its_positions(backbone, rows):
    batch, context = rows
    ((_, hidden),) = run_visible(backbone.decoder, batch, context, {"nowhere": []})
    logits = backbone.decoder.logits(backbone.decoder.finish(hidden))
    for row, (start, end) in enumerate(zip(context.tolist(), batch.lengths.tolist(), strict=True)):
        alone = backbone.model.language_model(
            inputs_embeds=batch.embeddings[row : row + 1, start:end], position_ids=torch.arange(start, end)[None]
        )
        torch.testing.assert_close(logits[row, start:end], alone.logits[0], atol=1e-5, rtol=1e-5)


def test_a_context_visible_in_some_layers_equals_parts_run_apart(backbone, rows):
    """Twin without masks: where the context is not seen, it and its query go through the layer by themselves."""
    batch, context = rows
    visible = {"middle": (2, 3), "late": (4, 5), "all": range(LAYERS)}
    found = dict(run_visible(backbone.decoder, batch, context, visible))
    assert set(found) == set(visible)
    started = backbone.decoder.start(batch.embeddings)
    for name, layers in visible.items():
        for row, (start, end) in enumerate(zip(context.tolist(), batch.lengths.tolist(), strict=True)):
            states = started[row : row + 1, :end]
            for layer in range(LAYERS):
                parts = [states] if layer in layers else [states[:, :start], states[:, start:]]
                states = torch.cat([backbone.decoder.run(part, [layer]) for part in parts], 1)
            torch.testing.assert_close(found[name][row, :end], states[0], atol=1e-5, rtol=1e-5)


def test_scores_are_those_of_a_loop(backbone, cases):
    batch = backbone.encode([case.request.query for case in cases])
    hidden = states_entering(backbone, batch, [3, LAYERS])[LAYERS]
    for case, score in zip(cases, answer_scores(backbone, hidden, batch), strict=True):
        ids, single = backbone.answer_ids(case.request.target), backbone.encode([case.request.query])
        logits = backbone.model.language_model(inputs_embeds=single.embeddings).logits[0].log_softmax(-1)
        asked = logits[single.last_prompt[0] : single.last_prompt[0] + len(ids)]
        hits = [int(row.argmax()) == name for row, name in zip(asked, ids, strict=True)]
        expected = sum(float(row[name]) for row, name in zip(asked, ids, strict=True)) / len(ids)
        assert score["log_probability"] == pytest.approx(expected, abs=1e-5)
        assert score["token"] == pytest.approx(sum(hits) / len(hits))
        assert score["exact"] == float(all(hits))


def pool_memory(backbone, entries=9):
    generator = torch.Generator().manual_seed(3)
    keys, values = (
        {layer: torch.randn(entries, backbone.width, generator=generator) for layer in backbone.layers}
        for _ in range(2)
    )
    return Memory(keys, values)


@pytest.mark.parametrize("pooled", [False, True])
def test_own_slots_equal_a_memory_made_for_each_row(backbone, cases, pooled):
    """One case at a time, with a plain memory that holds its slot and what the pool would have given it."""
    queries, pool = [case.request.query for case in cases], pool_memory(backbone)
    stored = demonstration_states(backbone, [case.probes[1].query for case in cases], "last")
    own = {layer: stored[layer] for layer in backbone.layers}
    batch = backbone.encode(queries)
    shift = latent_shift(OwnSlots(own, pool if pooled else None), {}, top_k=4, alpha=0.5)
    entering = states_entering(backbone, batch, [backbone.layers[0]])
    shifted = run_shifted(backbone, entering, batch, shift)
    for row, length in enumerate(batch.lengths.tolist()):
        single = backbone.encode(queries[row : row + 1])
        hidden = states_entering(backbone, single, [backbone.layers[0]])[backbone.layers[0]]
        for layer in backbone.layers:
            keys, values = torch.zeros(1, backbone.width), own[layer][row : row + 1]
            if pooled:
                inputs = backbone.decoder.layers[layer].part(backbone.decoder.names.attention_norm)(hidden)
                best = pool.search(layer, inputs[0, single.last_prompt], 3)[0][0]
                keys, values = torch.zeros(4, backbone.width), torch.cat([pool.values[layer][best], values])
            one = dataclasses.replace(shift, memory=Memory({layer: keys}, {layer: values}))
            hidden = run_layer(backbone, layer, hidden, single, one)
        torch.testing.assert_close(shifted[row, :length], hidden[0], atol=1e-5, rtol=1e-5)


def run_layer(backbone, layer, hidden, batch, shift):
    """Run one layer by its parts, with the shift written out."""
    part = backbone.decoder.layers[layer]
    inputs = part.part(part.names.attention_norm)(hidden)
    after = backbone.decoder.run(hidden, [layer])
    attended = part.attention(hidden_states=inputs, **backbone.decoder.masks(hidden, None))[0]
    known = part.attend(inputs, shift.memory.values[layer][None].expand(len(hidden), -1, -1))[0]
    mixed = hidden + (1 - shift.alpha) * attended + shift.alpha * known
    torch.testing.assert_close(
        after, hidden + attended + part.ffn(part.part(part.names.ffn_norm)(hidden + attended)), atol=1e-5, rtol=1e-5
    )
    return mixed + part.ffn(part.part(part.names.ffn_norm)(mixed))


ALPHA = 0.3
SETTINGS = PositiveControlConfig(alphas=(0.0, ALPHA), visible_points=2, items=3, window_items=2, window_alphas=(ALPHA,))
PARTS = {"verdict": [0, 2, 4], "scan": [1, 3]}  # of the five cases, which share nothing


def run(backbone, cases, rows=16):
    """The method's own alpha, scale and convention are none of the tests'."""
    memory = pool_memory(backbone)
    shift = latent_shift(memory, {}, top_k=3, alpha=0.9, alpha_scale=0.2, alpha_convention="printed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positive_control, "ROWS", rows)
        return PositiveControl(backbone, shift, "last", SETTINGS).run(cases, ["hot dog"] * len(memory))


def test_every_case_of_a_part_meets_every_condition_of_that_part(backbone, cases):
    scores, readout = run(backbone, cases)
    conditions = {
        "verdict": {("none", "none"), ("context", "all"), ("context", "edited"), ("latent", "edited")},
        "scan": {("none", "none"), ("context", "from 2"), ("context", "from 5"), ("window", "2-5")},
    }
    for part, places in PARTS.items():
        rows = scores[scores["part"] == part]
        assert set(rows[["test", "layers"]].itertuples(index=False, name=None)) == conditions[part]
        met = rows.groupby(["test", "layers", "memory", "alpha"])["case"].agg(list)
        assert all(names == [f"vqa-{place}" for place in places] for names in met)
    memories = scores[scores["test"] == "latent"].groupby("memory")["alpha"].agg(set).to_dict()
    named = ("same fact", "other fact", "general pool", "general pool + same fact")
    assert memories == {name: {0.0, ALPHA} for name in named}
    assert readout["items"].tolist() == [5] * LAYERS
    assert readout["edited"].tolist() == [False, False, True, True, True, True]
    assert readout["h_know"].notna().tolist() == readout["edited"].tolist()


def test_scores_are_those_of_each_case_asked_alone(backbone, cases):
    """The same fact is the rephrased question of the case, the other that of the next case of its part."""
    scores = run(backbone, cases)[0].set_index(["case", "memory", "test", "layers", "alpha"])["log_probability"]
    seen = {"all": range(LAYERS), "edited": range(2, 6), "from 2": range(2, 6), "from 5": range(5, 6)}
    for part, places in PARTS.items():
        for place, following in zip(places, [*places[1:], places[0]], strict=True):
            question, name = cases[place].request.query, f"vqa-{place}"
            alone = backbone.encode([question])
            entering = states_entering(backbone, alone, [2, LAYERS])
            expected = {("none", "none", "none", 0.0): answer_scores(backbone, entering[LAYERS], alone)}
            for memory, source in (("same fact", place), ("other fact", following)):
                demonstration = Query(f"image-{source}", "name it", cases[source].request.target)
                batch, before = behind(backbone, [demonstration], [question])
                for layers in ("all", "edited") if part == "verdict" else ("from 2", "from 5"):
                    ((_, hidden),) = run_visible(backbone.decoder, batch, before, {layers: seen[layers]})
                    expected[memory, "context", layers, 0.0] = answer_scores(backbone, hidden, batch)
                stored = demonstration_states(backbone, [demonstration], "last")
                slots = OwnSlots({layer: stored[layer] for layer in range(2, 6)})
                test = ("latent", "edited") if part == "verdict" else ("window", "2-5")
                hidden = run_shifted(backbone, entering, alone, latent_shift(slots, {}, top_k=1, alpha=ALPHA))
                expected[memory, *test, ALPHA] = answer_scores(backbone, hidden, alone)
                if part == "verdict":
                    expected[memory, *test, 0.0] = expected["none", "none", "none", 0.0]
            for condition, (score,) in expected.items():
                assert scores[name, *condition] == pytest.approx(score["log_probability"], abs=1e-5), (name, condition)


def test_the_result_does_not_depend_on_the_batches(backbone, cases):
    whole, parts = run(backbone, cases), run(backbone, cases, rows=2)
    names = ["test", "memory", "alpha", "layers", "case"]
    first, second = (table.set_index(names).sort_index()["log_probability"] for table, _ in (whole, parts))
    assert second.to_dict() == pytest.approx(first.to_dict(), abs=1e-5)
    for column in ("h_pos", "attention", "h_know"):
        assert parts[1][column].tolist() == pytest.approx(whole[1][column].tolist(), abs=1e-5, nan_ok=True)


def test_the_other_fact_shares_neither_fact_nor_answer():
    cases = [make_case(0, "cat"), make_case(1, "cat"), make_case(2, "dog"), make_case(3, "owl")]
    cases[3] = dataclasses.replace(cases[3], facts=cases[2].facts)
    assert other_facts(cases) == [2, 2, 0, 0]
    caption = dataclasses.replace(cases[2], request=dataclasses.replace(cases[2].request, task="caption"))
    assert other_facts([*cases[:2], caption, make_case(4, "blue")]) == [3, 3, 3, 0]
    with pytest.raises(InputError, match="case vqa-0: field 'facts'"):
        other_facts(cases[:2])


def shared(first, second):
    """What two groups of cases have in common: facts, and pictures of what an edit must reach."""
    used = []
    for group in (first, second):
        pictures = {probe.query.image for case in group for probe in case.probes[:3]}
        used.append(pictures | {f"fact {name}" for case in group for name in case.facts})
    return used[0] & used[1]


def with_facts(index, facts, task="vqa", picture=None):
    case = make_case(index)
    request = dataclasses.replace(case.request, id=f"{task}-{index}", task=task)
    other = dataclasses.replace(case.probes[2], query=Query(picture or f"other-{index}", "what", "dog"))
    return EditCase(request, (*case.probes[:2], other, *case.probes[3:]), tuple(facts))


def test_the_parts_share_no_fact_and_no_picture():
    """Pairs of 16 things, each in many pairs, as the captions of the embedded benchmark are; and single facts."""
    generator = torch.Generator().manual_seed(1)
    pairs = [torch.randperm(16, generator=generator)[:2].tolist() for _ in range(60)]
    captions = [with_facts(100 + i, [f"thing {j}" for j in pair], "caption") for i, pair in enumerate(pairs)]
    singles = [with_facts(i, [f"thing {i % 16}" if i % 8 == 0 else f"single {i}"]) for i in range(60)]
    parts = parts_of([*singles, *captions], {"verdict": 12, "scan": 8})
    assert shared(parts["verdict"], parts["scan"]) == set()
    counts = {name: [each.request.task for each in part].count("vqa") for name, part in parts.items()}
    assert counts == {"verdict": 12, "scan": 8}
    captions_of = {name: len(part) - counts[name] for name, part in parts.items()}
    assert captions_of["scan"] == 8 and 8 <= captions_of["verdict"] <= 12
    assert [case.request.id for case in parts_of(singles, {"verdict": 4, "scan": 2})["verdict"][:2]] == [
        "vqa-0",
        "vqa-2",
    ]


def test_a_shared_picture_keeps_cases_in_one_part():
    """In turns, the fourth case would be the scan's."""
    cases = [with_facts(0, ["a"], picture="p"), with_facts(1, ["b"]), with_facts(2, ["c"])]
    cases += [with_facts(3, ["d"], picture="p"), with_facts(4, ["e"])]
    parts = parts_of(cases, {"verdict": 3, "scan": 3})
    names = {name: [case.request.id for case in part] for name, part in parts.items()}
    assert names == {"verdict": ["vqa-0", "vqa-2", "vqa-3"], "scan": ["vqa-1", "vqa-4"]}
    between = with_facts(5, ["a", "b"])
    assert parts_of([*cases, between], {"verdict": 3, "scan": 3}) == parts
    assert parts_of([*cases, with_facts(6, ["b", "f"])], {"verdict": 3, "scan": 3})["scan"][-1].facts == ("b", "f")


def test_half_of_the_candidates_may_lie_between_the_parts():
    assert PositiveControlConfig(items=20, window_items=10).candidates == 2 * (20 + 10)


def test_too_few_edits_for_two_parts_are_one_clear_line():
    words = "positive_control: part 'scan' has 1 of 3 development edits, expected 2 or more that share"
    with pytest.raises(InputError, match=words):
        parts_of([make_case(i) for i in range(3)], {"verdict": 40, "scan": 20})
    assert [len(part) for part in parts_of([make_case(i) for i in range(4)], {"verdict": 40, "scan": 20}).values()] == [
        2,
        2,
    ]


def test_scans_cover_the_upper_two_thirds():
    assert list(window_layers(30, 2)) == [f"{start}-{start + 3}" for start in range(10, 27, 2)]
    assert window_layers(2, 2) == {"0-1": range(2)}
    assert scan_starts(30, 5) == [10, 15, 20, 24, 29] and scan_starts(2, 3) == [0, 1]


def test_variance_shares_of_known_clouds():
    assert variance_share(torch.ones(5, 3)) == pytest.approx(0)
    assert variance_share(torch.tensor([[1.0, 0], [-1, 0]])) == pytest.approx(1)
    assert variance_share(torch.tensor([[3.0, 4], [3, -4]])) == pytest.approx(16 / 25)


def test_answers_are_decoded_only_where_states_carry_them():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4 + 10
    labels[:20] = 10
    noise = torch.randn(120, 8, generator=generator)
    carried = noise.clone()
    carried[:, :4] += 9 * torch.eye(4)[labels - 10]
    found, blind = decode_answers(carried, labels), decode_answers(noise, labels)
    assert found["decoded"] == 1.0 and blind["decoded"] < 0.6
    assert found["chance"] == pytest.approx(45 / 120) and found["answers"] == 4
    labels[labels == 13] = -1
    labels[50:54] = torch.tensor([90, 91, 91, 92])
    assert decode_answers(carried, labels)["answers"] == 3
    alone = decode_answers(carried, torch.full((120,), 3))
    assert alone["decoded"] != alone["decoded"] and alone["answers"] == 1
