"""Kinds of probes that a benchmark brings itself: what their answers must do decides their scores, no name does."""

from dataclasses import replace

import pytest
from tiny_models import make_case

from unike_lib.backbones.batch import IGNORED
from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import find_criteria
from unike_lib.editing.editor import NoEdit
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.io import write_table
from unike_lib.records import record_schema
from unike_lib.reporting.records import load_records
from unike_lib.types import InputError, Probe, Query

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=3)
LABELS = {"backbone": "tiny", "task": "vqa", "method": "m", "seed": 0, "fingerprint": "x"}
OWN = (
    Probe("same_answer", Query("image-1", "what is on the left ?", "blue dog"), "stay"),
    Probe("other_answer", Query("image-1", "what is on the left ?", "blue dog"), "differ"),
    Probe("text_stays", Query(None, "what is a cat ?", "red owl"), "stay"),
    Probe("hop", Query("image-1", "what is on the left ?", "blue dog"), "become"),
)


def test_what_an_answer_must_do_decides_its_score(make_backbone, tmp_path):
    """Unedited: what must stay stays, what must differ does not, and what must become is right as often as it is."""
    cases = [replace(make_case(i, "cat"), probes=(*make_case(i, "cat").probes, *OWN)) for i in range(2)]
    cases[1] = replace(cases[1], probes=cases[1].probes[:-1])  # a kind that only one case has
    write_cases(tmp_path / "cases.json", "eval", "vqa", cases)
    assert read_cases(tmp_path / "cases.json") == cases
    backbone = make_backbone("blip2")
    scores = run_edits(backbone, NoEdit(), {1: cases}, answer_before(backbone, cases, SETTINGS), SETTINGS)
    table = records_table(scores, LABELS, SETTINGS)
    rows = table.set_index(["case", "kind"])[list(SETTINGS.criteria)]
    first, second = (case.request.id for case in cases)
    assert rows.loc[(first, "same_answer")].tolist() == rows.loc[(first, "text_stays")].tolist() == [1] * 5
    assert rows.loc[(first, "other_answer")].tolist() == [0] * 5
    batch = backbone.encode([OWN[-1].query])
    best = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0].argmax(-1)
    hits = (best == batch.targets[0])[batch.targets[0] != IGNORED]
    assert rows.loc[(first, "hop"), "token"] == pytest.approx(float(hits.double().mean()))
    assert (second, "hop") not in rows.index and (second, "text_stays") in rows.index
    write_table(tmp_path / "r.parquet", table, "x", record_schema(find_criteria(SETTINGS.criteria)))
    assert {probe.kind for probe in OWN} < set(load_records([tmp_path / "r.parquet"])["kind"])


def test_a_kind_that_does_not_say_what_it_must_do_is_named(tmp_path):
    case = make_case(0, "cat")
    write_cases(
        tmp_path / "cases.json", "eval", "vqa", [replace(case, probes=(*case.probes, Probe("own", OWN[0].query)))]
    )
    with pytest.raises(InputError, match=r"record 0: field 'probes\.5\.kind': .* found 'own'"):
        read_cases(tmp_path / "cases.json")
