"""The example of criteria in a user's files: scored beside the library's, in any unit, and shown with intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import make_case

from unike_lib.backbones.batch import IGNORED
from unike_lib.config.evaluation import EvaluationConfig, StatisticsConfig
from unike_lib.config.run import load_config
from unike_lib.criterion import Reply, find_criteria
from unike_lib.editing.editor import NoEdit
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.io import write_table
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.records import record_schema
from unike_lib.reporting.contrasts import paired_differences
from unike_lib.reporting.records import ROW, load_records
from unike_lib.reporting.scores import score_table, scores_by_cell
from unike_lib.types import InputError, Query

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_metric"
NAMES = ("token", "mmedit", "likelihood.py:CRITERION", "grade.py:CRITERION")
STATISTICS = StatisticsConfig()


@pytest.fixture
def folder(in_example):
    return in_example(EXAMPLE)


def log_probability(backbone, query):
    """By Hugging Face's forward over the whole row."""
    batch = backbone.encode([query])
    logits = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0].log_softmax(-1)
    where = batch.targets[0] != IGNORED
    return float(logits[where, batch.targets[0][where]].mean())


def test_scores_of_the_unedited_and_the_edited_model(folder, make_backbone):
    settings = EvaluationConfig(sessions=4, max_new_tokens=3, criteria=NAMES)
    backbone, cases = make_backbone("minigpt4"), [make_case(i, target) for i, target in enumerate(["hot dog", "cat"])]
    before = answer_before(backbone, cases, settings)
    tables = [
        records_table(run_edits(backbone, editor, {1: cases}, before, settings), {}, settings).set_index(
            ["case", "kind"]
        )
        for editor in (NoEdit(), FineTune(backbone, FineTuneMethod(method="fine-tune", steps=30, learning_rate=0.03)))
    ]
    for case in cases:
        for kind in ("rel", "t_gen", "m_gen"):
            expected = log_probability(backbone, case.query(kind))
            assert tables[0].loc[(case.request.id, kind), "log_probability"] == pytest.approx(expected, abs=1e-5)
        assert tables[1].loc[(case.request.id, "rel"), "log_probability"] > expected + 0.5
    assert (tables[0].loc[(slice(None), ["t_loc", "m_loc"]), "grade"] == 5).all()
    assert all(table["grade"].between(1, 5).all() for table in tables)


def frame(method, shift):
    """One record per probe of twelve edits; log-probabilities and grades of the probe `rel` are drawn."""
    draw = np.random.default_rng(len(method))
    rows = []
    for number in range(12):
        for kind in ("rel", "t_gen", "m_gen", "t_loc", "m_loc"):
            likely, graded = -draw.exponential() + shift, 1 + draw.integers(5) % 5
            scores = {"token": 1.0, "mmedit": 1.0, "log_probability": min(likely, 0.0), "grade": float(graded)}
            later = {f"{name}_right_after": np.nan for name in ("token", "mmedit", "log_probability")}
            place = {"session": number, "position": 0, "case": f"c{number}", "facts": [f"f{number}"], "kind": kind}
            run = {
                "backbone": "b",
                "task": "vqa",
                "method": method,
                "k": 1,
                "seed": 0,
                "status": "ok",
                "fingerprint": "x",
            }
            text = {
                "answer_tokens": 1,
                "target": "",
                "aliases": [],
                "text_before": "",
                "text_after": "",
                "cut": False,
                "edit_seconds": 0.0,
                "edit_bytes": 0.0,
                "peak_mb": 0.0,
            }
            rows.append(run | place | scores | later | text | {"alpha": np.nan})
    return pd.DataFrame(rows)


def test_tables_print_them_in_their_unit_with_intervals(folder, tmp_path):
    criteria, frames, files = find_criteria(NAMES), {}, []
    for method, shift in (("first", 0.0), ("second", -0.5)):
        frames[method] = frame(method, shift)
        files.append(tmp_path / f"{method}.parquet")
        write_table(files[-1], frames[method], "x", record_schema(criteria))
    records = load_records(files, ["k"], NAMES)
    for criterion in criteria[2:]:
        table = score_table(records, criterion, STATISTICS, keys=ROW).set_index("method")
        for method, rows in frames.items():
            mine = rows.loc[rows["kind"] == "rel", criterion.name]
            assert table.loc[method, "rel"] == pytest.approx(mine.mean())
            assert criterion.low < table.loc[method, "rel_low"] < mine.mean() < table.loc[method, "rel_high"]
            assert table.loc[method, "rel_high"] <= criterion.high
        found = paired_differences(scores_by_cell(records, criterion, keys=ROW), ("first", "second"), STATISTICS).iloc[
            0
        ]
        gaps = [frames[name].loc[frames[name]["kind"] == "rel", criterion.name].to_numpy() for name in frames]
        assert found["rel"] == pytest.approx((gaps[0] - gaps[1]).mean())
        half = 2.201 * (gaps[0] - gaps[1]).std(ddof=1) / 12**0.5  # t of 11 degrees of freedom
        if criterion.name == "log_probability":  # no scale: no widening
            assert found["rel_high"] - found["rel"] == pytest.approx(half, rel=1e-3)
    frames["second"].loc[3, "grade"] = 7.0
    write_table(files[1], frames["second"], "x", record_schema(criteria))
    with pytest.raises(InputError, match=r"second\.parquet: case c0, kind t_loc: grade is 7\.0, expected 1 \.\. 5"):
        load_records(files, ["k"], NAMES)


def test_scores_turned_round_for_a_probe_that_must_differ_are_read_again(folder, tmp_path):
    """Less likely is better there: the log-probability of the unedited answer, with its sign changed."""
    criterion, low = find_criteria(NAMES)[2], torch.tensor([-3.0, -1.0])
    none = torch.zeros(0)
    reply = Reply(Query(None, "q", "a"), "differ", none, none, low, none, none, "", ("",))
    records = frame("first", 0.0)
    own = records[records["kind"] == "m_loc"].assign(kind="differs", log_probability=criterion.of(reply))
    write_table(tmp_path / "r.parquet", pd.concat([records, own]), "x", record_schema(find_criteria(NAMES)))
    read = load_records([tmp_path / "r.parquet"], (), NAMES)
    assert read.loc[read["kind"] == "differs", "log_probability"].tolist() == [2.0] * 12


def test_what_is_needed_or_unknown_is_said(folder):
    (folder / "taken.py").write_text(
        "from unike_lib.criterion import Criterion\n"
        "COLUMN, FILE = (Criterion(name, '-', lambda reply: 1.0) for name in ('alpha', 'differences'))\n"
    )
    assert load_config({"evaluation": {"criteria": list(NAMES)}}).evaluation.criteria == NAMES
    for names, message in (
        (["mmedit", "token"], "expected token first"),
        (["token"], "mmedit"),
        (["token", "mmedit", "mmedit"], "each criterion once"),
        (["token", "mmedit", "blue"], "'blue': expected one of exact, generated, mmedit, normalised, token"),
        (["token", "mmedit", "other.py:CRITERION"], "no such file"),
        (["token", "mmedit", "taken.py:COLUMN"], "criterion 'alpha': the name is taken by a column"),
        (["token", "mmedit", "taken.py:FILE"], "criterion 'differences': the name is taken"),
    ):
        with pytest.raises(InputError, match=rf"evaluation\.criteria.*{message}"):
            load_config({"evaluation": {"criteria": names}})
