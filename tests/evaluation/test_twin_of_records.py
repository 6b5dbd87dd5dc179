"""A twin of whole records and tables: Hugging Face's own `generate`, on models whose weights are really changed.

The rules stand here again, as docs/evaluation.md has them, and SQuAD's as its evaluation script has it.
"""

import copy
import re
import string
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tables_of_records import write_tables
from tiny_families import picture, tiny_family
from torch.nn import functional

from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.tiers import TierSearch
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.types import EditCase, EditRequest, Probe, Query

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=4, criteria=("token", "mmedit", "generated", "normalised"))
RATES = {"strong": 0.05, "gentle": 0.0005}  # of learning
FIVE = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
STAY = ("t_loc", "m_loc", "near_picture", "near_question", "no_picture", "identity")
KEY = ["method", "k", "case", "kind"]


def an_edit(number, prompt, target, text, near):
    """An edit with the five probes; `text`: question and answer without a picture; `near`: about a picture."""
    own, other = f"picture {number}", f"other {number}"
    request = EditRequest(f"vqa-{number}", "vqa", own, prompt, target)
    probes = (
        Probe("rel", request.query),
        Probe("t_gen", Query(own, f"question: {prompt}", target)),
        Probe("m_gen", Query(other, prompt, target)),
        Probe("t_loc", Query(None, *text)),
        Probe("m_loc", Query(*near)),
    )
    return EditCase(request, probes, (f"fact {number}",))


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


def inputs_of(tiny, query, answer=""):
    """What the model's own processor makes of a question, with an answer written behind it."""
    pictures = [] if query.image is None else [picture(query.image)]
    asked = [{"type": "image"}] * len(pictures)
    asked.append({"type": "text", "text": f"Question: {query.prompt} Short answer:"})
    text = tiny.processor.apply_chat_template([{"role": "user", "content": asked}], add_generation_prompt=True)
    text += f" {answer}" if answer else ""
    return tiny.processor(text=text, return_tensors="pt", **({"images": pictures} if pictures else {}))


class Twin:
    """What one model, edited or not, says to questions."""

    def __init__(self, tiny, model, queries):
        self.tiny, self.model, self.said = tiny, model, {}
        for pictured in (True, False):
            asked = list(dict.fromkeys(key_of(each) for each in queries if (each.image is not None) is pictured))
            self.said |= dict(zip(asked, self.written([Query(*key) for key in asked]), strict=True))

    @torch.no_grad()
    def written(self, queries):
        """The texts of one batch, padded on the left, and which were cut."""
        rows, most = [inputs_of(self.tiny, query) for query in queries], SETTINGS.max_new_tokens
        longest, pad = max(row["input_ids"].shape[1] for row in rows), self.tiny.tokenizer.pad_token_id
        batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name.startswith("pixel")}
        for name, empty in (("input_ids", pad), ("attention_mask", 0)):
            batch[name] = torch.cat(
                [functional.pad(row[name], (longest - row[name].shape[1], 0), value=empty) for row in rows]
            )
        new = self.model.generate(**batch, max_new_tokens=most, do_sample=False)[:, longest:].tolist()
        for ids in new:
            text = self.tiny.tokenizer.decode(ids, skip_special_tokens=True).strip()
            yield text, self.tiny.tokenizer.eos_token_id not in ids and len(ids) == most

    @torch.no_grad()
    def best(self, query):
        """The best tokens where the answer is given, and the answer's own."""
        start = inputs_of(self.tiny, query)["input_ids"].shape[1]
        whole = inputs_of(self.tiny, query, query.answer)
        best = self.model(**whole).logits[0, start - 1 : -1].argmax(-1)
        return best.tolist(), whole["input_ids"][0, start:].tolist()


def key_of(query):
    return query.image, query.prompt


def plain(text):
    """But for case, spaces and closing punctuation."""
    return re.sub(r"[\s.,;:!?]+$", "", " ".join(text.lower().split()))


def squad(text):
    """normalize_answer of SQuAD's evaluate-v1.1.py, line by line."""
    lower = "".join(each for each in text.lower() if each not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lower).split())


def same(form, one, other):
    """Equal in a form; what a form erases stays as it is, but for case and spaces."""
    one, other = (form(text) or " ".join(text.lower().split()) for text in (one, other))
    return float(one == other)


def row_of(probe, before, after):
    """A record by the rules."""
    (old, _), (new, cut) = before.said[key_of(probe.query)], after.said[key_of(probe.query)]
    stays = probe.kind in STAY
    accepted = [old] if stays else [probe.query.answer, *probe.aliases]
    row = {"text_before": old, "text_after": new, "cut": cut}
    for name, form in (("generated", plain), ("normalised", squad)):
        row[name] = max(same(form, new, each) for each in accepted)
    if probe.kind in FIVE:
        best, target = after.best(probe.query)
        wanted = before.best(probe.query)[0] if stays else target
        row["token"] = sum(one == other for one, other in zip(best, wanted, strict=True)) / len(wanted)
    return row


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
