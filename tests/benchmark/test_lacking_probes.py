"""Files that lack probes of every edit, and benchmarks without training edits, from the sheet to the numbers."""

import json

import numpy as np
import pandas as pd
import pytest
from forked_snakemake import snakemake
from PIL import Image

from unike_lib.benchmark.cases import FORM
from unike_lib.benchmark.file_state import state_of_benchmark
from unike_lib.benchmark.missing import missing_images
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.benchmark.user_files import read_user_file
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.evaluation.probes import kinds_of
from unike_lib.reporting.contrasts import lowest_difference
from unike_lib.reporting.scores import aims_of, edit_scores
from unike_lib.reporting.whole_edits import edit_outcomes
from unike_lib.types import InputError

SHEET = "image,question,answer,rephrase\na.png,what?,glim,which?\nb.png,what?,stiel,which?\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in "ab":
        Image.new("RGB", (1, 1), (name == "a" and "red") or "blue").save(tmp_path / "pictures" / f"{name}.png")
    (tmp_path / "ten.csv").write_text(SHEET)
    files = {"vqa": {"train": None, "eval": "ten.csv"}, "caption": None}
    return BenchmarkConfig(
        annotations=str(tmp_path), images=str(tmp_path / "pictures"), format="plain", files=files, pictures="faithful"
    )


def test_a_sheet_alone_is_an_evaluation_without_training_edits(config, tmp_path):
    first = state_of_benchmark(config)
    assert missing_images(config) == [] and not config.trains
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    sizes = {}
    for split in ("pool", "method", "dev", "eval"):
        found = FORM.validate_python(json.loads((tmp_path / "out" / f"{split}_vqa.json").read_text()))
        assert (found.split, found.task) == (split, "vqa")
        sizes[split] = [case.request.id for case in found.cases]
    assert sizes == {"pool": [], "method": [], "dev": [], "eval": ["eval_vqa-0", "eval_vqa-1"]}
    assert kinds_of(found.cases) == ("rel", "t_gen")
    (tmp_path / "ten.csv").write_text(SHEET + "c.png,what?,brum,which?\n")
    assert state_of_benchmark(config) != first
    with pytest.raises(InputError, match=r"c\.png"):
        prepare_user_benchmark(tmp_path / "out", config, seed=0)


def test_a_dialect_lacks_what_it_says_and_then_in_the_whole_file(config, tmp_path):
    """FGVEdit says that it may lack M-Gen., not T-Loc."""
    assert len(read_user_file("vqa", "eval", config).cases) == 2
    record = {"src": "q", "alt": "x", "rephrase": "r", "image": "a.png", "fg_gen_q": "q", "fg_gen_a": "a"}
    record |= {"fg_loc_q": "q", "fg_loc_a": "a", "loc": "l", "loc_ans": "m"}
    (tmp_path / "own.py").write_text(
        "from dataclasses import replace\n"
        "from unike_lib.benchmark.formats.fgvedit import DIALECT as OTHER, read\n"
        "def less(source):\n"
        "    for case in read(source):\n"
        "        yield replace(case, probes=tuple(each for each in case.probes if each.kind != 't_loc'))\n"
        "DIALECT = replace(OTHER, read=less)\n"
    )
    (tmp_path / "ten.csv").write_text(json.dumps([record]))
    fine = config.model_copy(update={"format": "fgvedit"})
    assert [probe.kind for probe in read_user_file("vqa", "eval", fine).cases[0].probes][-2:] == ["fg_gen", "fg_loc"]
    other = config.model_copy(update={"format": f"{tmp_path / 'own.py'}:DIALECT"})
    with pytest.raises(InputError, match="record 0: expected one probe each of rel, t_gen, t_loc, found rel, t_gen"):
        read_user_file("vqa", "eval", other)


def records(kinds, scores):
    """Records of two edits of one cell; `scores`: by kind, of both edits."""
    rows = [
        {"backbone": "b", "task": "vqa", "k": 1, "method": "m", "seed": 0, "session": case, "position": 0}
        | {"case": f"vqa-{case}", "facts": [f"f{case}"], "kind": kind, "status": "ok", "token": scores[kind][case]}
        for case in (0, 1)
        for kind in kinds
    ]
    return pd.DataFrame(rows)


def test_an_aim_is_the_mean_of_what_is_asked_and_empty_without():
    """By hand: generality from T-Gen. alone, locality from nothing."""
    scores = edit_scores(records(("rel", "t_gen"), {"rel": (1.0, 0.0), "t_gen": (0.5, 1.0)}), "token")
    np.testing.assert_array_equal(scores.values, [[1, 0.5, *[np.nan] * 3], [0, 1, *[np.nan] * 3]])
    np.testing.assert_array_equal(aims_of(scores.values), [[1, 0.5, np.nan], [0, 1, np.nan]])
    other = edit_scores(records(("rel", "t_gen"), {"rel": (0.5, 0.0), "t_gen": (0.0, 0.5)}), "token")
    # Lowest aims: reliability of both (0.5 and 0.25); generality, 0.75 and 0.25. The lowest of what both have counts.
    assert lowest_difference(scores, other, 0.95)["lowest"] == pytest.approx(25)


def test_an_edit_as_a_whole_is_judged_by_what_is_asked():
    outcomes = edit_outcomes(pd.DataFrame({"rel": [1.0, 1.0, 0.0], "t_gen": [1.0, 0.5, 1.0]}))
    assert list(outcomes["joint"]) == [1, 0, 0] and list(outcomes["under_generalised"]) == [0, 1, 0]


def test_the_table_of_ten_rows_is_planned_without_a_positive_control(tmp_path):
    for name in ("pictures", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "ten.csv").write_text(SHEET)
    (tmp_path / "mine.yaml").write_text(
        "benchmark: {annotations: ., images: pictures, format: plain,\n"
        "            files: {vqa: {train: null, eval: ten.csv}, caption: null}}\n"
        "backbones: {mine: {family: blip2, folder: model}}\n"
        "tables:\n"
        "  table1: {backbones: [mine], methods: [base, lora], tasks: [vqa], paper: null}\n"
        "  table2: {backbones: [mine], tasks: [vqa]}\n"
        "  table4: {backbones: [mine], tasks: [vqa]}\n"
        "figures: {backbones: [mine], tasks: [vqa], sweeps: {frontier: {backbones: null}}}\n"
    )
    # The second target: a run that is asked for tables alone would not make a control for any method.
    targets = "results/table1.csv", "results/stages/texts/mine/counts.json"
    status, text = snakemake(tmp_path, "-n", "--configfile", tmp_path / "mine.yaml", "--", *targets)
    assert status == 0, text
    jobs = {line.split()[0] for line in text.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()}
    assert {"benchmark", "texts", "records", "table"} <= jobs and not {"positive_control", "triplets"} & jobs
    assert "pool_vqa.json, " not in next(line for line in text.splitlines() if "input:" in line and "model" in line)
