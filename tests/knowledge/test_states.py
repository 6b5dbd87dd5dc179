"""Triplets and states on a tiny backbone, against the model's own layers read by hooks."""

import itertools
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
import torch
from tiny_models import WIDTH

from unike_lib.backbones.generate import generate
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.io import table_writer, write_table
from unike_lib.knowledge.extraction import extract_ffn_inputs, extract_states
from unike_lib.knowledge.memory import build_memory, load_memory
from unike_lib.knowledge.states import STATE_COLUMNS, read_ffn_inputs, read_states, states_schema
from unike_lib.knowledge.triplets import collect_triplets, read_triplets, write_triplets
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query


@pytest.fixture(autouse=True)
def _answers_end(backbone, monkeypatch):
    """Random weights hardly ever write an end symbol: here every third token is one."""
    stops = frozenset(range(2, len(backbone.tokenizer), 3))
    monkeypatch.setattr(type(backbone), "stop_tokens", stops)


def greedy(backbone, query, stops, limit):
    """The answer by Hugging Face's own forward, a token at a time; None if it does not end within the limit."""
    embeddings = backbone.encode([replace(query, answer=None)]).embeddings
    answer = []
    while True:
        token = int(backbone.model.language_model(inputs_embeds=embeddings).logits[0, -1].argmax())
        if token in stops:
            return backbone.text(answer)
        if len(answer) == limit:
            return None
        answer.append(token)
        embeddings = torch.cat([embeddings, backbone.embed(torch.tensor([[token]]))], 1)


@pytest.mark.parametrize("limit", [1, 2, 30])
def test_answers_that_do_not_end_are_neither_triplets_nor_wrong(backbone, cases, limit, caplog):
    caplog.set_level("INFO")
    answers = {case.request.id: greedy(backbone, case.request.query, backbone.stop_tokens, limit) for case in cases}
    truth = {case.request.id: case.request.target for case in cases}
    wrong = {name: answer for name, answer in answers.items() if answer and answer != truth[name]}
    cut = sum(answer is None for answer in answers.values())
    if not wrong:
        with pytest.raises(InputError, match=f"{cut} of 5 answers do not end within {limit} tokens"):
            collect_triplets(backbone, cases, 100, limit, 0)
        return
    assert {triplet.id: triplet.negative for triplet in collect_triplets(backbone, cases, 100, limit, 0)} == wrong
    assert f"left out: {cut} of 5 answers" in caplog.text


def test_triplets_are_the_wrong_answers_with_the_truth(tmp_path, backbone, cases):
    own = backbone.text(generate(backbone, [cases[0].request.query], [[]], None, 16)[0])
    right = EditCase(EditRequest("right", "vqa", "image-0", "what is this ?", own), (), ("f",))
    triplets = collect_triplets(backbone, [*cases, right], 100, 16, 0)
    write_triplets(triplets, tmp_path / "t.parquet", "fingerprint")
    assert read_triplets(tmp_path / "t.parquet") == triplets
    assert "right" not in [t.id for t in triplets] and triplets
    truth = {case.request.id: case.request.target for case in cases}
    for triplet in triplets:
        assert triplet.positive == truth[triplet.id]
        assert normalise_answer(triplet.negative) != normalise_answer(triplet.positive)
    with pytest.raises(InputError, match="none of the 1 pool questions is answered wrongly"):
        collect_triplets(backbone, [right], 100, 16, 0)


def test_states_are_attention_inputs_at_the_named_tokens(tmp_path, backbone, cases):
    write_triplets(collect_triplets(backbone, cases, 100, 16, 0), tmp_path / "t.parquet", "fingerprint")
    triplets = read_triplets(tmp_path / "t.parquet")
    extract_states(backbone, tmp_path / "t.parquet", tmp_path / "s.parquet", "fingerprint")
    states = read_states(tmp_path / "s.parquet")
    assert set(states) == set(backbone.layers)
    names, seen = backbone.decoder.names, {}
    for layer in backbone.layers:
        norm = backbone.decoder.layers[layer].part(names.attention_norm)
        norm.register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output[0]}))
    for row, triplet in enumerate(triplets):
        for answer, last in ((triplet.positive, "h_pos"), (triplet.negative, "h_neg")):
            query = cases[0].request.query.__class__(triplet.image, triplet.prompt, answer, triplet.style)
            batch = backbone.encode([query])
            backbone.model.language_model(inputs_embeds=batch.embeddings)
            close = {"atol": 1e-5, "rtol": 0}
            start = int(batch.last_prompt)
            for layer, of_row in states.items():
                torch.testing.assert_close(of_row["h_sem"][row], seen[layer][start], **close)
                torch.testing.assert_close(of_row[last][row], seen[layer][-1], **close)
                if last == "h_pos":
                    torch.testing.assert_close(of_row["h_pos_mean"][row], seen[layer][start + 1 :].mean(0), **close)


def test_a_memory_has_h_sem_as_keys_and_h_pos_as_values(tmp_path):
    columns = {name: torch.randn(2, 9, 4).unbind() for name in STATE_COLUMNS}
    with table_writer(tmp_path / "s.parquet", states_schema(4), "fingerprint") as writer:
        for row in range(9):
            for at, layer in enumerate((7, 4)):
                states = {name: column[at][row].tolist() for name, column in columns.items()}
                writer.write_table(pa.Table.from_pylist([{"id": f"{row}", "layer": layer, **states}], writer.schema))
    build_memory(tmp_path / "s.parquet", tmp_path / "m.safetensors")
    for h_pos, column in (("last", "h_pos"), ("answer_mean", "h_pos_mean")):
        memory = load_memory(tmp_path / "m.safetensors", h_pos)
        assert memory.layers == (4, 7) and len(memory) == 9
        for at, layer in enumerate((7, 4)):
            torch.testing.assert_close(memory.values[layer], columns[column][at], atol=0, rtol=0)
            lengths = columns["h_sem"][at].norm(dim=1, keepdim=True)
            torch.testing.assert_close(memory.keys[layer], columns["h_sem"][at] / lengths)


def test_states_that_are_not_finite_are_refused(tmp_path, backbone, cases):
    write_triplets(collect_triplets(backbone, cases, 100, 16, 0), tmp_path / "t.parquet", "fingerprint")
    extract_states(backbone, tmp_path / "t.parquet", tmp_path / "s.parquet", "fingerprint")
    table = pd.read_parquet(tmp_path / "s.parquet")
    spoiled = table.at[3, "h_neg"].copy()
    spoiled[0] = float("nan")
    table.at[3, "h_neg"] = spoiled
    import pyarrow.parquet as pq

    write_table(tmp_path / "bad.parquet", table, "fingerprint", pq.read_schema(tmp_path / "s.parquet"))
    with pytest.raises(InputError, match="field 'h_neg' is not finite"):
        read_states(tmp_path / "bad.parquet")


def test_ffn_inputs_are_those_of_edited_and_of_text_only_questions(tmp_path, backbone, family, cases):
    """By hooks on the whole model: from the last prompt token on, both kinds of question of every case of the pool."""
    seen, pool = {}, {layer: [] for layer in backbone.layers}
    name = {"blip2": "fc1", "minigpt4": "mlp.up_proj"}[family]
    for layer in backbone.layers:
        first = backbone.decoder.layers[layer].module.get_submodule(name)
        first.register_forward_pre_hook(lambda _, inputs, layer=layer: seen.update({layer: inputs[0].view(-1, WIDTH)}))
    cases = [
        replace(case, probes=(case.probes[0], Probe("t_loc", Query(None, f"what is {word} ?", "red owl"))))
        for case, word in zip(cases, ("dog", "owl", "blue", "photo", "left"), strict=True)
    ]
    for case in cases:
        for query in (case.request.query, case.query("t_loc")):
            batch = backbone.encode([query])
            backbone.model.language_model(inputs_embeds=batch.embeddings)
            for layer in backbone.layers:
                pool[layer].append(seen[layer][int(batch.last_prompt) :])
    for limit in (1000, 7, 4):
        extract_ffn_inputs(backbone, cases, limit, tmp_path / "f.parquet", "fingerprint")
        inputs = read_ffn_inputs(tmp_path / "f.parquet")
        assert set(inputs) == set(backbone.layers)
        for layer, states in inputs.items():
            whole = torch.cat(pool[layer])
            distances = torch.cdist(states, whole, compute_mode="donot_use_mm_for_euclid_dist")
            found = distances.argmin(1).tolist()
            assert distances.amin(1).max() < 1e-4 and len(states) == min(limit, len(whole))
            assert found == sorted(set(found))  # none twice, in the pool's order
            kinds = [number for number, part in enumerate(pool[layer]) for _ in part]
            asked = [kinds[place] for place in found]
            assert {number % 2 for number in asked} == {0, 1}
            gaps = [after - before for before, after in itertools.pairwise(found)]
            if limit == 7:  # evenly spaced over the pool, from its first state to its last
                assert found[0] == 0 and found[-1] == len(whole) - 1 and max(gaps) - min(gaps) <= 1
            assert limit != 4 or len({number // 2 for number in asked}) > 1
