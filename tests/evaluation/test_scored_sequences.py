"""Records of whole sessions against a naive twin: the real weights are changed, one question is asked at a time.

The twin knows no batches, no patches and no kept states: Hugging Face's forward over the whole text, for each token
that is written and for each question that is scored.
"""

import math
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import torch
from patches import changes_of, patch_of

from unike_lib.backbones.batch import IGNORED
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import EditResult, NoEdit
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.records import MEASURED, Score
from unike_lib.types import EditRequest, Probe, Query

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=3)
LABELS = {"backbone": "tiny", "task": "vqa", "method": "m", "seed": 0, "fingerprint": "x"}
CRITERIA = ["token", "mmedit", "exact", "generated"]


def fine_tune(backbone):
    return FineTune(backbone, FineTuneMethod(method="fine-tune", steps=12, learning_rate=0.03))


def logits_of(twin, query, answer=None):
    """Return [token, vocabulary] of the whole row, and its batch."""
    batch = twin.encode([query], None if answer is None else [answer])
    return twin.model.language_model(inputs_embeds=batch.embeddings).logits[0], batch


def written(twin, query):
    """Write greedily, the whole text anew for each token."""
    ids = []
    while len(ids) < SETTINGS.max_new_tokens:
        token = int(logits_of(twin, query, ids)[0][-1].argmax())
        if token in twin.stop_tokens:
            break
        ids.append(token)
    return twin.text(ids)


def said(twin, query, writes=True):
    """Return what one question is judged by: best ids at the answer, ids by rank everywhere, truth, written text."""
    logits, batch = logits_of(twin, query)
    where = batch.targets[0] != IGNORED
    ranked = logits.argsort(-1, descending=True)
    return (
        ranked[where, 0].tolist(),
        ranked.tolist(),
        batch.targets[0][where].tolist(),
        written(twin, query) if writes else "",
    )


def share(first, second):
    pairs = list(zip(first, second, strict=True))
    return sum(one == other for one, other in pairs) / len(pairs)


def judged(kind, before, after, query):
    """Return the four criteria of one probe, from what the unedited and the edited model said."""
    best, ranked, truth, text = after
    if kind in ("rel", "t_gen", "m_gen", "portability"):
        token = share(best, truth)
        return token, token, float(token == 1), float(text == query.answer)
    ranks = {"t_loc": 1, "m_loc": 10}[kind]
    slots = [[row[rank] for row in rows for rank in range(ranks)] for rows in (before[1], ranked)]
    token = share(best, before[0])
    return token, share(*slots), float(token == 1), float(text == before[3])


def change_weights(twin, patch, session=0):
    """Write a fine-tuned session into real weights."""
    for layer, changes in changes_of(patch).items():
        for name, change in changes.items():
            twin.decoder.layers[layer].part(name).weight.data += change[session]


def records_of(backbone, editor, cases, k):
    return records_table(
        run_edits(backbone, editor, {k: cases}, answer_before(backbone, cases, SETTINGS), SETTINGS), LABELS, SETTINGS
    )


def test_sessions_of_three_equal_naive_scoring_of_the_final_model(family, make_backbone, cases):
    """Four cases: a session of three, one of whose cases has a second edit and a further question, and one of one."""
    more = Probe("portability", Query("image-1", "what is on the left ?", "red"))
    second = EditRequest("second", "vqa", None, "what is a cat ?", "red owl")
    cases = [*cases[:1], replace(cases[1], probes=(*cases[1].probes, more), then=(second,)), *cases[2:4]]
    backbone, plain = make_backbone(family), make_backbone(family)
    records = records_of(backbone, fine_tune(backbone), cases, 3).set_index(["case", "kind"])
    assert len(records) == 4 * 5 + 1 and (records["status"] == "ok").all() and (records["k"] == 3).all()
    for number, session in enumerate((cases[:3], cases[3:])):
        editor, patch = fine_tune(make_backbone(family)), Patch(1)
        right_after = {}
        for case in session:
            for request in (case.request, *case.then):
                patch = editor.edit([request], patch).patch
            twin = make_backbone(family)
            change_weights(twin, patch)
            query = case.request.query
            right_after[case.request.id] = judged("rel", None, said(twin, query, writes=False), query)
        for position, case in enumerate(session):
            for probe in case.probes:
                row = records.loc[case.request.id, probe.kind]
                before, after = said(plain, probe.query), said(twin, probe.query)
                expected = judged(probe.kind, before, after, probe.query)
                assert row[CRITERIA].tolist() == pytest.approx(expected, abs=1e-9), (case.request.id, probe.kind)
                assert (row["session"], row["position"], row["answer_tokens"]) == (number, position, len(before[2]))
                assert (row["text_before"], row["text_after"], row["target"]) == (
                    before[3],
                    after[3],
                    probe.query.answer,
                )
                after_own = row[["token_right_after", "mmedit_right_after", "exact_right_after"]].tolist()
                if probe.kind == "rel":
                    assert after_own == pytest.approx(right_after[case.request.id][:3], abs=1e-9)
                else:
                    assert all(map(math.isnan, after_own))
    rel = records.xs("rel", level="kind")
    assert (rel["token"] != rel["token_right_after"]).any() and records["token"].nunique() > 2
    assert (records["text_after"] != records["text_before"]).any()


@dataclass(frozen=True)
class Nothing:
    """An editor whose patch is there and changes nothing: zeros beside a matrix."""

    backbone: object

    def start(self, sessions):
        layer = self.backbone.decoder.layers[-1]
        name = layer.names.ffn_matrices[0]
        return patch_of(sessions, changes={layer.index: {name: torch.zeros(sessions, *layer.part(name).weight.shape)}})

    def edit(self, requests, previous):
        return EditResult(previous, (None,) * len(requests))


def test_base_scores_as_a_model_that_is_asked_again_and_answers_the_same(make_backbone, cases):
    """Of `base` the answers before any edit are taken again; a patch of zeros is asked everything anew.

    Compared with the answers of another model, neither is local: the comparison itself can fail.
    """
    cases, backbone, k = cases[:4], make_backbone("minigpt4"), 3
    base, asked = (
        records_of(backbone, editor, cases, k).drop(columns=[*MEASURED]) for editor in (NoEdit(), Nothing(backbone))
    )
    pd.testing.assert_frame_equal(base, asked)
    local = asked["kind"].isin(["t_loc", "m_loc"])
    assert (asked.loc[local, CRITERIA] == 1).all(axis=None) and (asked.loc[~local, "token"] < 1).any()
    for row in base[base["kind"].isin(["rel", "t_gen", "m_gen"])].itertuples():
        case = next(case for case in cases if case.request.id == row.case)
        expected = judged(row.kind, None, said(backbone, case.query(row.kind)), case.query(row.kind))
        assert (row.token, row.mmedit, row.exact, row.generated) == pytest.approx(expected, abs=1e-9)
    other = make_backbone("minigpt4", seed=1)
    before = answer_before(other, cases, SETTINGS)
    found = records_table(run_edits(backbone, Nothing(backbone), {k: cases}, before, SETTINGS), LABELS, SETTINGS)
    for row in found[found["kind"].isin(["t_loc", "m_loc"])].itertuples():
        query = next(case for case in cases if case.request.id == row.case).query(row.kind)
        expected = judged(row.kind, said(other, query), said(backbone, query), query)
        assert (row.token, row.mmedit, row.exact, row.generated) == pytest.approx(expected, abs=1e-9)
    assert found.loc[local, "mmedit"].max() < 1


def test_records_number_the_sessions_of_a_shard_in_the_whole_cell():
    """By hand: shards that begin behind 6 cases of a cell with sessions of 2 and 3."""
    blank = {"facts": [], "scores": dict.fromkeys(CRITERIA, 1.0), "answer_tokens": 1}
    text = {"target": "", "text_before": "", "text_after": "", "alpha": 0.0}
    places = [(3, 1, 0), (2, 0, 1), (3, 0, 0), (2, 1, 0)]
    scores = [Score("a", kind="rel", k=k, session=s, position=p, **blank, **text) for k, s, p in places]
    table = records_table(scores, LABELS, SETTINGS, first=6)
    assert table[["k", "session", "position"]].values.tolist() == [[2, 3, 1], [2, 4, 0], [3, 2, 0], [3, 3, 0]]
    assert list(table.columns[:5]) == list(LABELS)
