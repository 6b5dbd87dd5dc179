"""From scores to the files that a run writes: records, a CSV per criterion, edits as a whole, and the page."""

from types import SimpleNamespace

import pandas as pd

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.config.tables import TableConfig
from unike_lib.criterion import find_criteria
from unike_lib.evaluation.control_parts import VERDICT
from unike_lib.evaluation.sessions import records_table
from unike_lib.io import read_table, write_table
from unike_lib.records import record_schema
from unike_lib.reporting.edit_tables import write_edit_tables
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import TableParts

BACKBONE = "tiny"
TESTS = {"none": ("none", "none"), "context": ("edited", "same fact"), "latent": ("edited", "same fact")}


def control_of(path):
    """Write a positive control of one question that says nothing: tables want one of every backbone."""
    labels = {"backbone": BACKBONE, "task": "vqa", "case": "x", "facts": [["x"]], "part": VERDICT, "alpha": 0.0}
    scores = {"token": 0.0, "exact": 0.0, "log_probability": -1.0}
    rows = [
        pd.DataFrame(labels | {"test": test, "layers": where, "memory": memory} | scores)
        for test, (where, memory) in TESTS.items()
    ]
    write_table(path, pd.concat(rows), "x")
    return path


def write_tables(folder, scores, settings, task="vqa", ks=(1,), notes=()):
    """Write all files of scores by method; return records, tables by criterion, edits, and the page's lines."""
    rows = TableConfig(title="Mine", backbones=[BACKBONE], tasks=[task], methods=list(scores), ks=ks)
    run = TableParts(
        name="mine",
        entry=rows,
        tables={"mine": rows},
        titles={method: method for method in scores},
        paper_rows={},
        families={BACKBONE: "blip2"},
        unedited=(),
        readers=(),
        departures=(),
        benchmark=None,
        cut=settings.max_new_tokens,
        criteria=settings.criteria,
        readings=(),
        seeds=(0,),
        statistics=StatisticsConfig(),
    )
    schema, paths = record_schema(find_criteria(settings.criteria)), []
    for method, each in scores.items():
        labels = {"backbone": BACKBONE, "task": task, "method": method, "seed": 0, "fingerprint": "x"}
        paths.append(folder / f"{method}.parquet")
        write_table(paths[-1], records_table(each, labels, settings), "x", schema)
    outputs = {name: folder / f"mine_{name}" for name in (*settings.criteria, "markdown")}
    edits = {"edits": folder / "edits.csv", "cost": folder / "cost.csv", "cost_page": folder / "cost.md"}
    write_edit_tables(paths, {}, edits, run)
    write_result_table({"mine": paths}, [control_of(folder / "control")], outputs, run, notes, [edits["edits"]])
    keys = ["method", "k"]
    return SimpleNamespace(
        records=pd.concat([read_table(path) for path in paths], ignore_index=True),
        tables={name: pd.read_csv(outputs[name]).set_index(keys) for name in settings.criteria},
        edits=pd.read_csv(edits["edits"]).set_index(keys),
        lines=outputs["markdown"].read_text().splitlines(),
    )
