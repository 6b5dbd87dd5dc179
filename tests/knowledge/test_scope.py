"""The semantic scope: states against Hugging Face's own, double loops, made-up states where one layer knows."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import LAYERS, QUERIES

from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.io import write_tensors
from unike_lib.knowledge import scope_map
from unike_lib.knowledge.scope import load_scope
from unike_lib.knowledge.scope_choice import (
    auc,
    choose_layer,
    cut_of,
    scope_auc,
    session_auc,
    unseen_relations,
    write_scope,
)
from unike_lib.knowledge.scope_map import contrast_of, contrastive_loss, train_map
from unike_lib.knowledge.scope_states import Asked, ScopeStates, extract_scope_states, read_scope_states
from unike_lib.knowledge.scope_table import scope_rows, write_development_rows, write_scope_table
from unike_lib.reporting.scope_figure import draw_scope
from unike_lib.types import InputError

NORMS = {"opt": "self_attn_layer_norm", "llama": "input_layernorm"}


def test_auc_counts_pairs_in_the_right_order_ties_half():
    rng = np.random.default_rng(0)
    for _ in range(20):
        right, wrong = rng.integers(0, 6, 7) / 5, rng.integers(0, 6, 4) / 5
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]
        assert auc(right, wrong) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert np.isnan(auc(right, wrong[:0]))


def test_states_are_the_models_own_at_the_last_prompt_token(backbone):
    """Each question by itself, through Hugging Face's forward, without its answer."""
    found = prompt_states(backbone, QUERIES, range(len(backbone.decoder.layers)))
    assert found.shape == (len(QUERIES), LAYERS, backbone.width)
    model = backbone.model.language_model
    stack = next(module for module in model.modules() if hasattr(module, "layers"))
    norms = [getattr(layer, NORMS[model.config.model_type]) for layer in stack.layers]
    for row, query in enumerate(QUERIES):
        embeddings = backbone.encode([replace(query, answer=None)]).embeddings
        hidden = model(inputs_embeds=embeddings, output_hidden_states=True).hidden_states
        own = torch.stack([norm(states[0, -1]) for norm, states in zip(norms, hidden, strict=False)])
        torch.testing.assert_close(found[row], own, atol=1e-5, rtol=1e-5)


def test_each_question_is_run_once_and_nothing_behind_the_last_layer(tmp_path, backbone, cases, monkeypatch):
    cases = [replace(case, facts=(f"pea pod/{name}",)) for case, name in zip(cases, "aabbb", strict=True)]
    cases[4] = replace(cases[4], facts=("images/cat.png what is this ?",))
    asked, encode = [], backbone.encode
    monkeypatch.setattr(backbone, "encode", lambda queries: asked.extend(queries) or encode(queries))
    backbone.decoder.layers[-1].attention.register_forward_hook(lambda *_: pytest.fail("the last layer is run"))
    kinds = ("rel", "t_gen", "t_loc", "near_picture")
    extract_scope_states(backbone, {"pool": cases}, kinds, tmp_path / "s.safetensors", "fingerprint", 2)
    assert len(asked) == len(set(asked)) == 5 + 2 + 1 and not any(query.answer for query in asked)
    read = read_scope_states(tmp_path / "s.safetensors")
    rows = [(each.case, each.kind) for each in read.asked]
    of_whole = [(f"vqa-{i}", kind) for i in range(2) for kind in ("rel", "t_gen", "t_loc")]
    assert rows == [*of_whole, *((f"vqa-{i}", "rel") for i in range(2, 5))]
    assert read.edited == backbone.layers and read.relations == ("a", "b") and read.asked[-1].relation == ""
    for each in read.asked:
        case = next(case for case in cases if case.request.id == each.case)
        own = prompt_states(backbone, [case.query(each.kind)], range(len(backbone.decoder.layers)))[0]
        torch.testing.assert_close(read.states[each.question], own, atol=1e-5, rtol=1e-5)


def test_a_threshold_tells_most_questions_apart():
    """Youden's index on lists that are counted by hand."""
    near, far = np.array([0.4, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.3, 0.5])
    cut = cut_of(near, far)  # 1 of 4 shut out and none let in (0.5 to 0.7), or none and 1 of 4 (0.3 to 0.4): the wider
    assert cut.threshold == pytest.approx(0.6)
    assert cut.temperature == pytest.approx((np.quantile([0.7, 0.8, 0.9], 0.05) - 0.6) / 6)
    cut = cut_of(near, np.array([0.1, 0.2, 0.3, 0.69]))  # now the other is wider, and the localities below are nearer
    assert cut.threshold == pytest.approx(0.35)
    assert cut.temperature == pytest.approx((0.35 - np.quantile([0.1, 0.2, 0.3], 0.95)) / 6)
    assert cut_of(np.full(5, 0.9), np.full(5, 0.899)).temperature == 0.001
    assert cut_of(np.full(5, 0.9), np.full(5, 0.9)).threshold == 0.9
    worst = cut_of(np.array([0.1, 0.2]), np.array([0.8, 0.9]))  # no cosine says anything
    assert 0.1 < worst.threshold < 0.9 and worst.temperature >= 0.001


SHAPES = {"t_gen": 1, "m_gen": 1, "t_loc": 0, "m_loc": 0, "near_question": 0}
WIDTH, KNOWING = 24, 2


def made_up(split, edits=12, layers=4, tasks=("vqa", "caption"), noise=0.3, seed=0):
    """States that say nothing but at layer KNOWING, where rephrasings lie near their edit's question."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(layers, WIDTH, generator=generator)  # noqa: E731
    states, asked = [], []
    for task, number in itertools.product(tasks, range(edits)):
        key = draw()
        for kind, near in {"rel": 1, **SHAPES}.items():
            state = key if kind == "rel" else draw()
            if near and kind != "rel":
                state[KNOWING] = key[KNOWING] + noise * draw()[KNOWING]
            relation = ("room", "town", "year")[number % 3] if task == "vqa" else "naming"
            asked.append(Asked(len(states), split, task, f"{task}-{number}", kind, relation))
            states.append(state)
    return ScopeStates(torch.stack(states), (0, 1), tuple(asked))


@pytest.fixture(autouse=True, scope="module")
def _short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_map, "STEPS", 3)
        yield


@pytest.fixture(scope="module")
def scope_file(tmp_path_factory, _short_training):
    path = tmp_path_factory.mktemp("scope") / "scope.safetensors"
    write_scope(made_up("pool", seed=1), made_up("dev"), 0, path, "fingerprint")
    return path


def test_the_lowest_layer_near_the_best_is_chosen(scope_file):
    assert choose_layer({"vqa": [0.2, 0.9985, 0.9995, 1.0], "caption": [0.2, 1.0, 1.0, 1.0]}) == 1
    assert choose_layer({"vqa": [0.2, 0.997, 1.0, 0.9], "caption": [1.0, 1.0, 1.0, 0.9]}) == 2
    dev = made_up("dev")
    assert [scope_auc(dev, layer) > 0.99 for layer in range(4)] == [False, False, True, False]
    assert load_scope(scope_file).chosen == KNOWING


def test_a_layer_must_tell_an_edit_from_those_beside_it():
    """Two edits whose questions are one at layer 0 alone: pair by pair, by hand."""
    first, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    layers = [[first, first], [first, other]]
    rows = torch.tensor([[layers[layer][edit] for layer in range(2)] for edit in (0, 1, 0, 1)])
    apart = torch.tensor([[[0.0, 0.0, 1.0]] * 2] * 2)
    places = {"rel": 0, "t_gen": 2, "m_loc": 4}
    asked = [Asked(place + e, "dev", "vqa", f"e{e}", kind, "") for e in (0, 1) for kind, place in places.items()]
    states = ScopeStates(torch.cat([rows, apart]), (0,), tuple(asked))
    assert [scope_auc(states, layer) for layer in range(2)] == [1.0, 1.0]
    assert [session_auc(states, layer) for layer in range(2)] == [0.75, 1.0]


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def test_keys_and_thresholds_come_from_the_pool_alone(scope_file, tmp_path):
    pool, scope = made_up("pool", seed=1), load_scope(scope_file)
    assert scope.spaces == [*(("raw", layer) for layer in range(4)), ("trained", 0)]
    space = scope.space("raw", KNOWING)
    assert space.keys.shape == (24, WIDTH) and space.map is None and set(space.by_task) == {"vqa", "caption"}
    keys = {(each.task, each.case): pool.states[each.question, KNOWING] for each in pool.asked if each.kind == "rel"}
    for task, (threshold, temperature) in space.by_task.items():
        own = [
            (e.kind, cosine(keys[e.task, e.case], pool.states[e.question, KNOWING]))
            for e in pool.asked
            if e.task == task
        ]
        near, far = ([value for kind, value in own if SHAPES.get(kind) == side] for side in (1, 0))
        middle = (min(near) + max(far)) / 2  # of lists that lie apart
        assert min(near) > max(far) and threshold == pytest.approx(middle, abs=1e-5)
        margin = min(np.quantile(near, 0.05) - middle, middle - np.quantile(far, 0.95))
        assert temperature == pytest.approx(margin / 6, abs=1e-5)
        start = 0 if task == "caption" else 12
        assert space.thresholds[start : start + 12].tolist() == pytest.approx([threshold] * 12)
        assert space.temperatures[start : start + 12].tolist() == pytest.approx([temperature] * 12)
        mine = torch.stack([key for (name, _), key in keys.items() if name == task])
        torch.testing.assert_close(space.keys[start : start + 12], mine / mine.norm(dim=1, keepdim=True))
    trained = scope.space("trained", 0)
    assert trained.map.shape[0] == WIDTH and trained.keys.shape == (24, trained.map.shape[1])
    torch.testing.assert_close(trained.keys.norm(dim=1), torch.ones(24))
    write_scope(pool, made_up("dev", seed=7), 0, tmp_path / "other.safetensors", "fingerprint")
    assert load_scope(tmp_path / "other.safetensors").space("raw", 1).by_task == scope.space("raw", 1).by_task


def test_the_loss_is_the_papers_with_rephrasings_as_positives():
    states = made_up("pool", edits=3, noise=1.5)
    contrast = contrast_of(states, KNOWING)
    loss, unit = [], torch.nn.functional.normalize(states.states[:, KNOWING], dim=-1)
    for own in (each for each in states.asked if each.kind == "rel"):
        right = everything = 0.0
        for other in states.asked:
            mine, weight = other.edit == own.edit, float(torch.exp(unit[own.question] @ unit[other.question] / 0.1))
            if mine and other.kind != "rel":
                right += weight * SHAPES[other.kind]
                everything += weight
            elif not mine and (other.kind == "rel" or SHAPES[other.kind]):
                everything += weight
        loss.append(np.log(everything / right))
    assert float(contrastive_loss(contrast.keys, contrast.others, contrast, 0.1)) == pytest.approx(
        np.mean(loss), rel=1e-4
    )


def noisy(split, seed):
    """Made-up states of one layer whose questions agree with their edit's in four of all directions, beside noise."""
    generator = torch.Generator().manual_seed(seed)
    states = made_up(split, edits=30, tasks=("vqa",))
    rows = torch.randn(len(states.states), 1, WIDTH, generator=generator)
    signal = 1.5 * torch.randn(30, 4, generator=generator)
    for each in states.asked:
        if SHAPES.get(each.kind, 1):
            rows[each.question, 0, :4] = signal[int(each.case.removeprefix("vqa-"))]
    return replace(states, states=rows)


def test_a_map_learns_where_the_signal_is(monkeypatch):
    monkeypatch.setattr(scope_map, "STEPS", 200)
    states, unseen = noisy("pool", 5), noisy("dev", 6)
    map = train_map(states, 0, 0)
    assert scope_auc(unseen, 0, map) > 0.03 + scope_auc(unseen, 0)
    assert map[:4].norm(dim=1).mean() > 1.5 * map[4:].norm(dim=1).mean()
    assert torch.equal(map, train_map(states, 0, 0)) and not torch.equal(map, train_map(states, 0, 1))
    assert scope_auc(states, 0, map) > 0.92 > 0.84 > scope_auc(states, 0)
    left_out = []
    unseen_relations(unseen, 0, lambda relation: left_out.append(relation))
    assert left_out == ["room", "town", "year"]
    with pytest.raises(InputError, match="too few pool edits"):
        train_map(states.divided(set())[0], 0, 0)


def test_rows_are_counted_question_by_question(scope_file):
    states, scope = made_up("eval", edits=4, noise=0.8, seed=3), load_scope(scope_file)
    rows = scope_rows(states, scope)
    assert set(rows["split"]) == {"eval"} and "t_gen_far" not in set(rows["set"])
    pick = (rows["state"] == "raw") & (rows["layer"] == KNOWING) & (rows["task"] == "vqa")
    rows = rows[pick].set_index("set")
    space, at = scope.space("raw", KNOWING), lambda each: states.states[each.question, KNOWING]
    keys = {each.edit: at(each) for each in states.asked if each.kind == "rel"}
    own, nearest, others = {}, {}, {}
    for each in (each for each in states.asked if each.task == "vqa" and each.kind != "rel"):
        rest = [key for edit, key in keys.items() if edit != each.edit] + list(space.keys)
        own.setdefault(each.kind, []).append(cosine(at(each), keys[each.edit]))
        others.setdefault(each.kind, []).extend(cosine(at(each), key) for key in rest)
        nearest.setdefault(each.kind, []).append(own[each.kind][-1] > max(cosine(at(each), key) for key in rest))
    sides = [[value for kind in SHAPES if SHAPES[kind] == side for value in own[kind]] for side in (1, 0)]
    assert rows.at["rephrasings", "auc"] == pytest.approx(auc(*map(np.array, sides)))
    for kind, near in SHAPES.items():
        pair = (own[kind], sides[1]) if near else (sides[0], own[kind])
        assert rows.at[kind, "auc"] == pytest.approx(auc(*map(np.array, pair)))
        assert (
            rows.at[kind, "nearest_is_own"] == pytest.approx(np.mean(nearest[kind])) and rows.at[kind, "questions"] == 4
        )
        assert rows.at[kind, "own_low"] == pytest.approx(np.quantile(own[kind], 0.05), abs=1e-5)
        assert rows.at[kind, "other_high"] == pytest.approx(np.quantile(others[kind], 0.95), abs=1e-5)
        assert rows.at[kind, "chosen"] and not rows.at[kind, "edited"]


def test_a_file_that_is_no_scope_is_named(tmp_path, scope_file):
    path = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match=r"other\.safetensors"):
        load_scope(path)
    write_tensors(path, {"edited": torch.tensor([1])}, "fingerprint")
    with pytest.raises(InputError, match=r"other\.safetensors: not a semantic scope: entry 'chosen' is missing"):
        load_scope(path)
    with pytest.raises(InputError, match=r"scope\.safetensors: no space raw\.9; it has raw\.0, .*trained\.0"):
        load_scope(scope_file).space("raw", 9)
    tensors = {"edited": torch.tensor([1]), "chosen": torch.tensor(1), "raw.1.vqa.keys": torch.ones(2, 3)}
    write_tensors(path, tensors, "fingerprint")
    with pytest.raises(InputError, match=r"other\.safetensors: .*'raw\.1\.vqa\.threshold' is missing"):
        load_scope(path).space("raw", 1)
    write_tensors(path, {"index": torch.zeros(2, dtype=torch.uint8)}, "fingerprint")
    with pytest.raises(InputError, match=r"other\.safetensors: .*entry 'states' is missing"):
        read_scope_states(path)


def test_the_table_and_the_figure_have_what_was_measured(tmp_path, scope_file):
    pool, dev, scope = made_up("pool", seed=1), made_up("dev"), load_scope(scope_file)
    write_development_rows(pool, dev, scope_file, 0, tmp_path / "dev.csv")
    scope_rows(made_up("eval", seed=4), scope).to_csv(tmp_path / "eval.csv", index=False)
    write_scope_table({"tiny": [tmp_path / "dev.csv", tmp_path / "eval.csv"]}, tmp_path / "scope.csv")
    table = pd.read_csv(tmp_path / "scope.csv")
    assert table.columns[0] == "backbone" and set(table["split"]) == {"dev", "eval"}
    unseen = table[table["set"] == "unseen_relation"]
    assert set(unseen["task"]) == {"vqa", "caption"} and len(unseen) == 2 * 5 and set(unseen["split"]) == {"dev"}
    drawn = {kind: tmp_path / f"figure.{kind}" for kind in ("png", "csv")}
    draw_scope(tmp_path / "scope.csv", drawn)
    shown = pd.read_csv(drawn["csv"])
    assert set(shown.loc[shown["split"] == "dev", "set"]) == {"rephrasings"} and drawn["png"].stat().st_size > 10_000
    table.drop(columns="auc").to_csv(tmp_path / "scope.csv", index=False)
    with pytest.raises(InputError, match=r"scope\.csv: field 'auc' is missing"):
        draw_scope(tmp_path / "scope.csv", drawn)


def test_the_choice_never_reads_evaluation_edits(jobs):
    by_rule = {rule: [job for job in jobs if job.rule == rule] for rule in ("scope", "scope_states", "scope_eval")}
    assert by_rule["scope"] and len(by_rule["scope_states"]) == len(by_rule["scope_eval"])
    assert all("eval" in job.wildcards for job in by_rule["scope_states"])
    for job in by_rule["scope"]:
        edits = {file.rsplit("/", 1)[1] for file in job.input if "/tiers/" in file}
        assert edits == {f"{split}_{task}.json" for split in ("pool", "dev") for task in ("vqa", "caption")}
        assert not [file for file in job.input if "eval" in file]
    for job in by_rule["scope_eval"]:
        assert [file.rsplit("/", 1)[1] for file in job.input] == ["eval.safetensors", "scope.safetensors"]
