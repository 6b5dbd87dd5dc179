"""What a user's files leave out, or share between splits, stands in every table and in the report."""

import json
import runpy
from pathlib import Path

import pytest
from declared_jobs import made_up_job
from made_up_records import make_records, with_tables

from unike_lib.benchmark.versions import versions_notes
from unike_lib.reporting import report
from unike_lib.table_parts import report_parts, table_parts

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
SHARED = {kind: {"pool": 0, "method": 0, "dev": 0} for kind in ("t_loc", "m_loc", "edited", "probed")}
COUNTS = {
    "train.json": {"records": 90, "missing": 4, "evaluated": 3, "kept": 81, "fact": 2},
    "eval.json": {
        "records": 31,
        "missing": 0,
        "evaluated": 0,
        "kept": 31,
        "shared_edits": {"fact": 7, "edited": 5},
        "shared": SHARED | {"m_loc": {"pool": 0, "method": 17, "dev": 23}},
    },
    "old.json": {"records": 5, "missing": 0, "evaluated": 0, "kept": 5},
}
VERSIONS = {"train.json": {"sha256": "ab" * 32}, "eval.json": {"sha256": "0123456789abcdef" * 4, "name": "a known one"}}
NAMED = "Files of the benchmark, by SHA-256: train.json abababababab, eval.json 0123456789ab (a known one)."
SAID = (
    "Of the 90 records of train.json, 4 are left out because images are missing.",
    "Of the 90 records of train.json, 5 are left out because the evaluation (for a triplet source: any split but "
    "the pool) edits their picture (3) or fact (2), too.",
    "the training files edit the fact of 7 and a picture of 5 of the 31 edits of eval.json, too; ",
    "Of the 31 edits of eval.json (in brackets: for how many): the M-Loc. question, about the same picture, is also "
    "asked in method (17), dev (23). ",
)


UNASKED = {"records": 31, "unknown": 2, "special": 0, "left_out": []}
NOT_ASKED = "2 of the 31 records of eval_vqa.json (their texts hold words that its tokenizer does not know)."


@pytest.fixture
def counts(tmp_path):
    """What rules hand over: the counts of the benchmark's files, and of what a backbone is not asked."""
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "counts.json").write_text(json.dumps({"eval_vqa.json": UNASKED}))
    (tmp_path / "counts.json").write_text(json.dumps(COUNTS))
    return {"counts": [str(tmp_path / "counts.json")], "texts": [str(tmp_path / "right" / "counts.json")]}


def run_script(name, **kinds):
    runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": made_up_job(name, **kinds)})


def test_tables_say_what_the_files_share(tmp_path, counts, save, control, config, monkeypatch):
    for variable in ("OMP_NUM_THREADS", "TQDM_MININTERVAL", "TQDM_MAXINTERVAL", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, "1")  # restored afterwards
    rows = {"backbones": ("right",), "tasks": ("vqa",), "methods": ("unike",)}
    first = config.tables["table1"].model_copy(update=rows)
    config = with_tables(config, table1=first, table2=first.model_copy(update={"ks": (10,)}))
    one, ten = (str(save(make_records(("right", "vqa", "unike"), edits=20, k=k), f"k{k}")) for k in (1, 10))
    both = {"control": list(map(str, control)), **counts, "edits": [], "cost": [], "tiers": []}
    inputs = {"table2": {"records_table2": [ten]}, "table5": {"records_table1": [one], "records_table2": [ten]}}
    for name in inputs:
        run_script(
            "write_table",
            input=inputs[name] | both,
            output={"markdown": str(tmp_path / f"{name}.md"), "protocol": str(tmp_path / f"{name}.json")},
            params={"table": table_parts(config, name).model_dump(mode="json")},
            wildcards={"table": name},
        )
        text = (tmp_path / f"{name}.md").read_text()
        assert all(sentence in text for sentence in (*SAID, NOT_ASKED)) and "old.json" not in text


def test_the_report_says_what_the_files_share(tmp_path, counts, config, monkeypatch):
    taken = {}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(report, "write_report", lambda sources, out, run, notes: taken.update(notes=notes))
    single = dict.fromkeys(("control", "diagnostics", "settings"), "x")
    inputs = {"tables": [], "checks": ["a", "b"], "figures": [], **counts, **single}
    params = {"report": report_parts(config).model_dump(mode="json"), "benchmarks": "x"}
    run_script("write_report", input=inputs, output={"page": str(tmp_path)}, params=params)
    assert len(taken["notes"]) == len(SAID) + 1
    assert all(sentence in note for sentence, note in zip((*SAID, NOT_ASKED), taken["notes"], strict=True))


def test_tables_and_their_protocols_name_the_files_by_name_and_short_hash(tmp_path, save, control, config, monkeypatch):
    for variable in ("OMP_NUM_THREADS", "TQDM_MININTERVAL", "TQDM_MAXINTERVAL", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, "1")
    counts = {name: count | ({"version": VERSIONS[name]} if name in VERSIONS else {}) for name, count in COUNTS.items()}
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    assert versions_notes(tmp_path / "counts.json") == [NAMED]
    rows = {"backbones": ("right",), "tasks": ("vqa",), "methods": ("unike",)}
    config = with_tables(config, table1=config.tables["table1"].model_copy(update=rows))
    records = str(save(make_records(("right", "vqa", "unike"), edits=20), "k1"))
    inputs = {
        "records_table1": [records],
        "control": list(map(str, control)),
        "counts": [str(tmp_path / "counts.json")],
    }
    page, protocol = tmp_path / "t.md", tmp_path / "t.json"
    run_script(
        "write_table",
        input=inputs | {"texts": [], "edits": [], "cost": [], "tiers": []},
        output={"markdown": str(page), "protocol": str(protocol)},
        params={"table": table_parts(config, "table1").model_dump(mode="json")},
        wildcards={"table": "table1"},
    )
    assert NAMED in page.read_text()
    assert json.loads(protocol.read_text())["benchmark"] == {"name": None, "files": VERSIONS}
