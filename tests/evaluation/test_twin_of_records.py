"""A twin of whole records and tables: Hugging Face's own `generate`, on models whose weights are really changed."""

import copy
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hugging_face_twin import FIVE, STAY, Twin, an_edit, key_of, plain, row_of, same
from tables_of_records import write_tables
from tiny_families import picture, tiny_family

from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.tiers import TierSearch
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.types import Probe, Query

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=4, criteria=("token", "mmedit", "generated", "normalised"))
RATES = {"strong": 0.05, "gentle": 0.0005}  # of learning
KEY = ["method", "k", "case", "kind"]


# The second asks about the first's picture; the first's text question is the third's own, with its target.
CASES = [
    an_edit(0, "what is this?", "red cat", ("is an owl on the left?", "a photo"), ("far 0", "what is on it?", "red")),
    an_edit(1, "what cat is it?", "on the left", ("what is an owl?", "a cat"), ("picture 0", "is it red?", "an owl")),
    an_edit(2, "is an owl on the left?", "a photo", ("what is red?", "owl"), ("far 2", "is this a cat?", "an owl")),
]
FURTHER = {
    "vqa-1": Probe("identity", Query(None, "what is a cat?", "an owl")),
    "vqa-2": Probe("portability", Query("picture 2", "is it a photo?", "owl")),
}
CASES = [replace(case, probes=(*case.probes, *filter(None, [FURTHER.get(case.request.id)]))) for case in CASES]


@torch.no_grad()
def changed(model, patch):
    """The model with the changes of one session in its own weights."""
    model = copy.deepcopy(model)
    decoder = getattr(model.model, "text_model", None) or model.model.language_model
    for layer, matrices in patch.parts[0].layers.items():
        for name, change in matrices.items():
            decoder.layers[layer].get_submodule(name).weight += change[0]
    return model


@torch.no_grad()
def tiers_by_hand(tiny):
    """(case, kind) -> picture and question, for these three edits."""
    names = sorted({probe.query.image for case in CASES for probe in case.probes if probe.query.image})
    means = []
    for name in names:
        pixels = tiny.processor.image_processor(images=[picture(name)], return_tensors="pt")["pixel_values"]
        seen = tiny.model.get_image_features(pixels).pooler_output
        means.append(torch.cat(list(seen)).reshape(-1, 16).mean(0))
    seen = dict(zip(names, torch.stack(means) - torch.stack(means).mean(0), strict=True))
    questions = defaultdict(set)
    for case in CASES:
        for probe in case.probes:
            questions[probe.query.image].add(probe.query.prompt)
    found = {}
    for case in CASES:
        own, prompt = case.request.image, case.request.prompt
        mine = {probe.query.image for probe in case.probes}
        wording = {prompt, f"question: {prompt}"}
        alike = {name: float(torch.cosine_similarity(seen[own], seen[name], dim=0)) for name in names}
        others = sorted((name for name in names if name not in mine), key=alike.get, reverse=True)
        found[case.request.id, "near_picture"] = others[0], prompt
        for near in (own, *others):
            asked = {probe.query.prompt for probe in case.probes if near == probe.query.image}
            left = sorted(questions[near] - asked - wording)
            if left:
                found[case.request.id, "near_question"] = near, left[0]
                break
        found[case.request.id, "no_picture"] = None, prompt
    del found["vqa-2", "no_picture"]  # its right answer is the target, as the first edit's text question says
    return found


def with_aliases(case, unedited, alone):
    """Answers that one form accepts and the other does not; the second edit was right before, by an alias."""
    probes = {probe.kind: probe for probe in case.probes}
    for kind, aliases in {
        "vqa-1": {"rel": lambda old, new: ("other", f" {old.upper()} ."), "t_gen": lambda old, new: (f"{new}!",)},
        "vqa-2": {"m_gen": lambda old, new: (f"The {new}",)},
    }.get(case.request.id, {}).items():
        key = key_of(case.query(kind))
        probes[kind] = replace(probes[kind], aliases=aliases(unedited.said[key][0], alone.said[key][0]))
    return replace(case, probes=tuple(probes.values()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Records and tables of edits that are strong or barely felt, alone and as a session; the twin's row of each."""
    tiny = tiny_family("smolvlm")
    search = TierSearch(CASES, tiny.backbone.images)
    cases = [search.with_tiers(case) for case in CASES]
    queries = [probe.query for case in cases for probe in case.probes]
    unedited, edited, scores = Twin(tiny, tiny.model, queries), {}, {}
    for method, rate in RATES.items():
        settings = FineTuneMethod(method="fine-tune", steps=20, learning_rate=rate)
        editor = FineTune(tiny.backbone, settings)
        for session in (*([case] for case in cases), cases):
            patch = editor.start(1)
            for case in session:
                patch = editor.edit([case.request], patch).patch
            made = tuple(case.request.id for case in session)
            edited[method, made] = Twin(tiny, changed(tiny.model, patch), queries)
        if method == "strong":
            cases = [with_aliases(case, unedited, edited[method, (case.request.id,)]) for case in cases]
        before = answer_before(tiny.backbone, cases, SETTINGS)
        scores[method] = run_edits(tiny.backbone, editor, {1: cases, 3: cases}, before, SETTINGS)
    found = write_tables(tmp_path_factory.mktemp("tables"), scores, SETTINGS, ks=(1, 3))
    ids = tuple(case.request.id for case in cases)
    rows = [
        {"method": method, "k": k, "case": case.request.id, "kind": probe.kind}
        | row_of(probe, unedited, edited[method, ids if k == 3 else (case.request.id,)])
        for method in RATES
        for k in (1, 3)
        for case in cases
        for probe in case.probes
        if k == 1 or still_asked(probe, case, cases)
    ]
    return SimpleNamespace(tiny=tiny, cases=cases, counts=search.counts, found=found, twin=pd.DataFrame(rows))


def still_asked(probe, case, session):
    """Whether a session asks it: no near tier about a picture that another of its edits is about."""
    others = [each for each in session if each is not case]
    return probe.kind not in ("near_picture", "near_question") or probe.query.image not in {
        each.query(kind).image for each in others for kind in ("rel", "m_gen")
    }


def test_the_tiers_are_those_that_its_own_picture_features_give(run):
    found = {
        (case.request.id, probe.kind): (probe.query.image, probe.query.prompt)
        for case in run.cases
        for probe in case.probes
        if probe.kind in ("near_picture", "near_question", "no_picture")
    }
    assert found == tiers_by_hand(run.tiny)
    assert run.counts["vqa", "no_picture", "left_out"] == 1


def test_every_record_is_what_hugging_face_writes(run):
    """Texts, cut answers and scores, row by row; the answers tell the forms apart."""
    records, twin = run.found.records.set_index(KEY), run.twin.set_index(KEY)
    assert len(records) == len(twin) == 2 * (25 + 25 - 5) and set(records.index) == set(twin.index)
    for key, row in twin.iterrows():
        record = records.loc[key]
        for name in ("text_before", "text_after", "cut", "generated", "normalised"):
            assert record[name] == row[name], (key, name)
        if key[-1] in FIVE:
            assert record["token"] == pytest.approx(row["token"]), key
    stay = twin[twin.index.get_level_values("kind").isin(STAY)]
    assert all(0 < rows[name].mean() < 1 for rows in (twin, stay) for name in ("generated", "normalised", "cut"))
    assert (twin["generated"] < twin["normalised"]).any()


def test_the_tables_are_means_over_these_rows(run):
    """Every column of kinds, with how many edits are asked it; leaks and cut answers as the page has them."""
    for (method, k), rows in run.twin.groupby(["method", "k"]):
        of_kind = dict(list(rows.groupby("kind")))
        for name in ("token", "generated", "normalised"):
            table = run.found.tables[name].loc[(method, k)]
            for kind, each in of_kind.items():
                if name != "token" or kind in FIVE:
                    assert table[kind] == pytest.approx(100 * each[name].mean(), abs=1e-4), (k, name, kind)
                assert kind in FIVE or table[f"{kind}_edits"] == len(each)
        start = f"| tiny, VQA, K = {k}, {method} |" if k > 1 else f"| tiny, VQA, {method} |"
        line = next(each for each in run.found.lines if each.startswith(start)).strip(" |").split(" | ")[1:]
        for kind, *found in zip(FIVE, *(map(float, line[start:15:3]) for start in range(3)), strict=True):
            taught, written = (100 * of_kind[kind][name].mean() for name in ("token", "generated"))
            assert found == pytest.approx([taught, written, taught - written], abs=0.051)
        assert line[15].split()[0] == str(rows["cut"].sum())


def test_each_edit_as_a_whole_is_that_of_the_texts(run):
    for (method, k), rows in run.twin.groupby(["method", "k"]):
        counts, rest = Counter(), []
        for case in run.cases:
            asked = rows[rows["case"] == case.request.id].set_index("kind")
            right = asked["generated"] == 1
            general = right["t_gen"] and right["m_gen"]
            local = all(right[kind] for kind in STAY if kind in right)
            outcome = {(1, 1): "joint", (0, 1): "under_generalised", (1, 0): "over_generalised", (0, 0): "both"}
            counts[outcome[general, local] if right["rel"] else "not_reliable"] += 1
            rel = case.probe("rel")
            if not any(
                same(plain, asked.loc["rel", "text_before"], each) for each in (case.request.target, *rel.aliases)
            ):
                rest.append(asked["generated"])
        edits = run.found.edits.loc[(method, k)]
        for name in ("joint", "under_generalised", "over_generalised", "both", "not_reliable"):
            assert edits[name] == pytest.approx(100 * counts[name] / 3, abs=1e-4), (k, name)
        assert edits["localities"].split() == [kind for kind in STAY if kind in set(rows["kind"])]
        assert (edits["others"], edits["right_before"]) == (2, pytest.approx(100 / 3, abs=1e-4)) and len(rest) == 2
        for kind in FIVE:
            assert edits[f"rest_{kind}"] == pytest.approx(50 * sum(each[kind] for each in rest))
