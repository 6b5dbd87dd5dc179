"""Small tables 1, 2 and 5, cell by cell against loops over plain records."""

import pandas as pd
import pytest
from made_up_records import make_records, with_tables

from unike_lib.config.tables import TableConfig
from unike_lib.reporting.paper_numbers import paper_table
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import PROBE_KINDS

METHODS = ("base", "unike", "t-patcher")
ONE_STEP = TableConfig(
    title="1", backbones=("right", "left"), tasks=("vqa", "caption"), methods=METHODS, paper="table1"
)
SEQUENTIAL = TableConfig(
    title="2", backbones=("right",), tasks=("vqa",), methods=("unike", "t-patcher"), ks=(4, 2), paper="table2"
)
PAPER = {"left": "BLIP-2 OPT", "right": "MiniGPT-4", "unike": "UniKE", "t-patcher": "T-Patcher"}


def near(records, seed):
    """T-Patcher's scores are UniKE's but for a little: what differs between edits is common to both."""
    noise = pd.Series(range(len(records))).mul(seed * 0.618).mod(1) * 0.02
    return records.assign(method="t-patcher", **{name: (records[name] * 0.9 + noise) for name in ("token", "mmedit")})


@pytest.fixture(scope="module")
def written(config, control, tmp_path_factory):
    """The tables' files by name, and the records behind them as dictionaries."""
    folder = tmp_path_factory.mktemp("group_bys")
    config = with_tables(config, table1=ONE_STEP, table2=SEQUENTIAL)
    frames = {"table1": [], "table2": []}
    for name, rows in (("table1", ONE_STEP), ("table2", SEQUENTIAL)):
        for number, (backbone, (task, k)) in enumerate([(b, s) for b in rows.backbones for s in rows.settings], 1):
            edits = 7 + number if k == 1 else 9
            unike = make_records((backbone, task, "unike"), edits=edits, k=k)
            frames[name] += [unike, near(unike, number)]
            if "base" in rows.methods:
                frames[name].append(make_records((backbone, task, "base"), edits=edits, k=k))
    asked = frames["table1"][0].query("kind == 'rel' and session < 3").assign(kind="portability", token=[0.0, 0.5, 1.0])
    paths = {}
    for name, tables in frames.items():
        paths[name] = [folder / f"{name}-{number}.parquet" for number in range(len(tables))]
        for number, (path, table) in enumerate(zip(paths[name], tables, strict=True)):
            (pd.concat([table, asked]) if name == "table1" and not number else table).to_parquet(path)
        files = {key: folder / f"{name}-{key}.csv" for key in ("token", "mmedit", "differences")}
        write_result_table({name: paths[name]}, control, files, table_parts(config, name))
    files = {key: folder / f"table5-{key}.csv" for key in ("token", "mmedit")}
    write_result_table(paths, control, files, table_parts(config, "table5"))
    records = {name: pd.concat(tables).to_dict("records") for name, tables in frames.items()}
    return lambda name: pd.read_csv(folder / f"{name}.csv").to_dict("records"), records


def scores(records, cell, kinds, criterion):
    """The scores of a cell (backbone, task, k, method), in the order of its edits."""
    names = ("backbone", "task", "k", "method")
    found = [row for row in records if tuple(row[name] for name in names) == cell and row["kind"] in kinds]
    return [row[criterion] for row in sorted(found, key=lambda row: (row["session"], row["position"], row["kind"]))]


def percent(values):
    return pytest.approx(100 * sum(values) / len(values), abs=1e-4)


@pytest.mark.parametrize("criterion", ["token", "mmedit"])
@pytest.mark.parametrize(("name", "rows"), [("table1", ONE_STEP), ("table2", SEQUENTIAL)])
def test_cells_are_means_in_the_tables_order(written, name, rows, criterion):
    read, records = written
    table = read(f"{name}-{criterion}")
    order = [(b, task, k, method) for b in rows.backbones for task, k in rows.settings for method in rows.methods]
    assert [tuple(row[key] for key in ("backbone", "task", "k", "method")) for row in table] == order
    for cell, row in zip(order, table, strict=True):
        for kind in PROBE_KINDS:
            assert row[kind] == percent(scores(records[name], cell, [kind], criterion))
        edits, sessions = len(scores(records[name], cell, ["rel"], criterion)), row["clusters"]
        assert row["edits"] == edits
        assert row["last_session"] == (edits - (sessions - 1) * cell[2] if cell[2] > 1 else 1)
        assert cell[2] == 1 or sessions == -(-edits // cell[2])


def test_the_papers_numbers_are_of_the_same_cell(written):
    printed = paper_table("table1").set_index(["backbone", "task", "method"])
    assert set(printed.index.get_level_values("backbone")) >= {PAPER["left"], PAPER["right"]}
    for row in written[0]("table1-token"):
        if row["method"] in PAPER:
            paper = printed.loc[(PAPER[row["backbone"]], row["task"], PAPER[row["method"]])]
            assert [row[f"paper_{kind}"] for kind in PROBE_KINDS] == [paper[kind] for kind in PROBE_KINDS]


@pytest.mark.parametrize("criterion", ["token", "mmedit"])
def test_differences_are_of_the_same_edits(written, criterion):
    read, records = written
    for name, rows in (("table1", ONE_STEP), ("table2", SEQUENTIAL)):
        found = [row for row in read(f"{name}-differences") if row["criterion"] == criterion]
        assert [(row["backbone"], row["task"], row["k"]) for row in found] == [
            (backbone, *setting) for backbone in rows.backbones for setting in rows.settings
        ]
        ours = {
            tuple(row[key] for key in ("backbone", "task", "k", "method")): row for row in read(f"{name}-{criterion}")
        }
        for row in found:
            assert (row["first"], row["second"]) == ("unike", "t-patcher")  # not the unedited model
            cell = row["backbone"], row["task"], row["k"]
            for kind in PROBE_KINDS:
                pair = [scores(records[name], (*cell, method), [kind], criterion) for method in ("unike", "t-patcher")]
                assert row[kind] == percent([one - other for one, other in zip(*pair, strict=True)])
                width = ours[*cell, "unike"][f"{kind}_high"] - ours[*cell, "unike"][f"{kind}_low"]
                assert name == "table2" or row[f"{kind}_high"] - row[f"{kind}_low"] < 0.5 * width


def test_portability_is_of_the_edits_that_ask_it(written):
    first, *others = written[0]("table1-token")
    assert (first["backbone"], first["task"], first["method"]) == ("right", "vqa", "base")
    ported = [row for row in [first, *others] if row["portability_edits"] > 0]
    assert [(row["method"], row["portability"], row["portability_edits"]) for row in ported] == [("unike", 50.0, 3)]


@pytest.mark.parametrize("criterion", ["token", "mmedit"])
def test_table5_weighs_cells_alike_and_counts_what_is_in_them(written, criterion):
    read, records = written
    aims = {"reliability": ["rel"], "generality": ["t_gen", "m_gen"], "locality": ["t_loc", "m_loc"]}
    sources = {"one-step": ("table1", ONE_STEP), "sequential": ("table2", SEQUENTIAL)}
    table = read(f"table5-{criterion}")
    assert len(table) == 5
    for row in table:
        name, rows = sources[row["setting"]]
        cells = [(b, task, k, row["method"]) for b in rows.backbones for task, k in rows.settings]
        parts = [scores(records[name], cell, ["rel"], criterion) for cell in cells]
        assert (row["cells"], row["edits"]) == (len(cells), sum(map(len, parts)))
        for aim, kinds in aims.items():
            means = [scores(records[name], cell, kinds, criterion) for cell in cells]
            assert row[aim] == percent([sum(values) / len(values) for values in means])
        # Of the two backbones one does not pass the tests; its UniKE says nothing.
        doubted = [cell for cell in cells if cell[0] == "right" and row["method"] == "unike"]
        assert row["control_not_passed"] == len(doubted)
