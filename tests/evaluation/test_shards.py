"""A cell whose edits are shared out among jobs ends in the table of a cell that one job makes."""

import pandas as pd
import pytest
from room_editors import room_sources, small_settings
from tiny_models import make_case

from unike_lib.config.evaluation import EvaluationConfig, StatisticsConfig
from unike_lib.criterion import find_criteria
from unike_lib.editing.building import build_editor
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.session_layout import shard_cases
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.io import write_csv, write_table
from unike_lib.records import record_schema
from unike_lib.reporting.records import ROW, load_records
from unike_lib.reporting.scores import score_table

SETTINGS = EvaluationConfig(sessions=2, max_new_tokens=3)
CRITERIA = ("token", "mmedit", "exact", "generated")
COLUMNS = ["session", "position", "case", "kind", "status", *CRITERIA, "token_right_after"]


ROOMS = ("fine-tune", "lora", "grace", "wise", "liveedit", "m-ore", "serac-multimodal")
SPLIT = [make_case(100 + number, target) for number, target in enumerate(["hot dog", "cat", "red owl left", "blue"])]


@pytest.fixture(
    params=[("fine-tune", 1), *((name, 2) for name in ROOMS)], ids=["one-step", *(f"sessions-{name}" for name in ROOMS)]
)
def made(request, make_backbone, cases, tmp_path):
    """Return a function from a number of shards to the record files, as the jobs of the rule write them.

    What a method trains before any edit is trained once; every job builds an editor of its own.
    """
    name, k = request.param
    backbone, method = make_backbone("blip2"), small_settings(name)
    sources = room_sources(method, backbone, tmp_path, SPLIT)
    before = answer_before(backbone, cases, SETTINGS)
    labels = {"backbone": "tiny", "task": "vqa", "method": "m", "seed": 0, "fingerprint": "x"}

    def make(shards):
        files = [tmp_path / f"m.{number}of{shards}.parquet" for number in range(1, shards + 1)]
        for number, file in enumerate(files, 1):
            part, first = shard_cases({k: cases}, number, shards)
            editor = build_editor(method, backbone, sources, 0)
            scores = run_edits(backbone, editor, part, before, SETTINGS)
            table = records_table(scores, labels, SETTINGS, first)
            write_table(file, table, "x", record_schema(find_criteria(CRITERIA)))
        return files

    return make


@pytest.mark.parametrize("shards", [3, 7], ids=["3", "more than sessions"])
def test_the_table_is_the_same_for_any_number_of_shards(made, shards, tmp_path):
    tables = []
    for number in (1, shards):
        records = load_records(made(number), criteria=CRITERIA)
        means = [score_table(records, name, StatisticsConfig(), keys=ROW) for name in CRITERIA]
        write_csv(tmp_path / "table.csv", pd.concat(means))
        rows = records[COLUMNS].sort_values(["session", "position", "kind"], ignore_index=True)
        tables.append((rows, (tmp_path / "table.csv").read_bytes()))
    (whole, whole_table), (joined, joined_table) = tables
    pd.testing.assert_frame_equal(joined, whole)
    assert joined_table == whole_table
    assert whole["token"].nunique() > 1
