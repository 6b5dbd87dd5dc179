"""What a user's files leave out, or share between splits, stands in every table and in the report."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_records import make_records

from unike_lib.reporting import report

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
SHARED = {kind: {"pool": 0, "method": 0, "dev": 0} for kind in ("t_loc", "m_loc", "edited", "probed")}
COUNTS = {
    "train.json": {"records": 90, "missing": 4, "evaluated": 3, "kept": 83},
    "eval.json": {
        "records": 31,
        "missing": 0,
        "evaluated": 0,
        "kept": 31,
        "shared": SHARED | {"m_loc": {"pool": 0, "method": 17, "dev": 23}},
    },
    "old.json": {"records": 5, "missing": 0, "evaluated": 0, "kept": 5},
}
SAID = (
    "Of the 90 records of train.json, 4 are left out because images are missing.",
    "Of the 31 edits of eval.json (in brackets: for how many): the M-Loc. question, about the same picture, is also "
    "asked in method (17), dev (23). ",
)


@pytest.fixture
def counts(tmp_path):
    (tmp_path / "counts.json").write_text(json.dumps(COUNTS))
    return [str(tmp_path / "counts.json")]


class Inputs(dict):
    """Named inputs, as Snakemake has them: by key and as attributes."""

    __getattr__ = dict.__getitem__


def run_script(name, config, inputs, output, **parts):
    job = SimpleNamespace(
        rule=name, config=config.model_dump(mode="json"), log=[], resources={}, input=Inputs(inputs), output=output,
        **{"wildcards": [], **parts},
    )  # fmt: skip
    runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": job})


class Wildcards(list):
    table = "table2"


def test_tables_say_what_the_files_share(tmp_path, counts, save, admission, config, monkeypatch):
    for variable in ("OMP_NUM_THREADS", "TQDM_MININTERVAL", "TQDM_MAXINTERVAL", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, "1")  # restored afterwards
    rows = {"backbones": ("right",), "tasks": ("vqa",), "methods": ("unike",)}
    tables = {
        "table1": config.table1.model_copy(update=rows),
        "table2": config.table2.model_copy(update=rows | {"ks": (10,)}),
    }
    config = config.model_copy(update=tables)
    one, ten = (str(save(make_records(("right", "vqa", "unike"), edits=20, k=k), f"k{k}")) for k in (1, 10))
    both = {"admission": list(map(str, admission)), "counts": counts}
    outputs = {"markdown": str(tmp_path / "table2.md")}
    run_script("write_table", config, {"records": [ten], **both}, outputs, wildcards=Wildcards(["table2"]))
    outputs = {"markdown": str(tmp_path / "table5.md")}
    run_script("write_table5", config, {"one_step": [one], "sequential": [ten], **both}, outputs)
    for name in ("table2", "table5"):
        text = (tmp_path / f"{name}.md").read_text()
        assert all(sentence in text for sentence in SAID) and "old.json" not in text


def test_the_report_says_what_the_files_share(tmp_path, counts, config, monkeypatch):
    taken = {}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(report, "write_report", lambda sources, out, config, notes: taken.update(notes=notes))
    single = dict.fromkeys(("admission", "diagnostics", "settings"), "x")
    inputs = {"tables": [], "checks": [], "figures": [], "counts": counts, **single}
    run_script("write_report", config, inputs, [str(tmp_path)], params=SimpleNamespace(backbones=[], benchmarks="x"))
    assert len(taken["notes"]) == len(SAID)
    assert all(sentence in note for sentence, note in zip(SAID, taken["notes"], strict=True))
