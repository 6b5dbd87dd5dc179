"""What columns of tables mean, as ids: every column has one, and they agree exactly where tables mean the same."""

import csv
import json

import pytest
from made_up_records import make_records, with_tables

from unike_lib.reporting import protocol
from unike_lib.reporting.edit_tables import write_edit_tables
from unike_lib.reporting.protocol import same_protocol, write_protocol
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import InputError

BEHIND = {name: [name] for name in ("table1", "table2", "table4")} | {"table5": ["table1", "table2"]}
KS = {"table1": [1], "table2": [10, 20], "table4": [1]}


@pytest.fixture(scope="module")
def written(config, control, tmp_path_factory):
    """The CSV files and what the protocol is made from, by table: each of one method, or averages of two."""
    folder, found, records = tmp_path_factory.mktemp("protocol"), {}, {}
    rows = {"backbones": ("right",), "tasks": ("vqa",), "methods": ("fine-tune",)}
    small = with_tables(config, **{name: config.tables[name].model_copy(update=rows) for name in KS})
    for name, ks in KS.items():
        records[name] = [folder / f"{name}-{k}.parquet" for k in ks]
        for path, k in zip(records[name], ks, strict=True):
            make_records(("right", "vqa", "fine-tune"), edits=20, k=k).to_parquet(path)
    for name, behind in BEHIND.items():
        run = table_parts(small, name)
        files = {key: folder / f"{name}_{key}.csv" for key in ("token", "generated", "differences")}
        write_result_table({each: records[each] for each in behind}, control, files, run)
        if not run.entry.averages:
            beside = {key: folder / f"{name}_{key}.csv" for key in ("edits", "cost", "cost_page")}
            write_edit_tables(records[name], {}, beside, run)
            files |= {key: beside[key] for key in ("edits", "cost")}
        found[name] = files, run
    return found


@pytest.fixture(scope="module")
def protocols(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    for name, (files, run) in written.items():
        write_protocol(files, folder / f"{name}.json", run)
    return {name: folder / f"{name}.json" for name in written}


def fields(path, part, column, rows):
    found = json.loads(path.read_text())
    return found["protocols"][found["files"][part]["columns"][column][rows]]


def test_every_column_of_every_file_has_an_id(written, protocols):
    for name, (files, _) in written.items():
        found = json.loads(protocols[name].read_text())
        assert found["files"].keys() == files.keys()
        for part, path in files.items():
            header = next(csv.reader(path.open()))
            assert found["files"][part]["file"] == path.name
            assert list(found["files"][part]["columns"]) == header
            ids = {name for rows in found["files"][part]["columns"].values() for name in rows.values()}
            assert ids <= found["protocols"].keys()
            rows = {tuple(ids) for ids in found["files"][part]["columns"].values()}
            assert len(rows) == 1 and bool(*rows) == (len(path.read_text().splitlines()) > 1)
        assert len(found["protocols"]) == len({json.dumps(each) for each in found["protocols"].values()})


def test_what_numbers_mean_can_be_read(protocols):
    locality = fields(protocols["table1"], "generated", "t_loc", "k = 1")
    assert (locality["criterion"], locality["answers"]) == ("generated", "greedy")
    assert locality["stop"] == "natural stop, at most 32 tokens" and locality["k"] == [1]
    assert locality["compared_with"] == {"t_loc": "what the unedited model says"}
    taught = fields(protocols["table1"], "token", "rel_low", "k = 1")
    assert (taught["answers"], taught["interval"], taught["column"]) == ("teacher forcing", "95%", "rel_low")
    assert taught["compared_with"] == {"rel": "the target or an alias"}
    joint = fields(protocols["table2"], "edits", "joint", "generated, k = 20")
    assert list(joint["compared_with"]) == ["rel", "t_gen", "m_gen", "t_loc", "m_loc"] and joint["k"] == [20]
    mean = fields(protocols["table5"], "token", "locality", "sequential")
    assert list(mean["compared_with"]) == ["t_loc", "m_loc"] and mean["k"] == [10, 20]
    assert fields(protocols["table1"], "cost", "seconds", "k = 1")["source"] == "measured"
    assert fields(protocols["table1"], "token", "paper_rel", "k = 1")["source"] == "the paper, table1"
    assert fields(protocols["table1"], "edits", "edits", "generated, k = 1")["source"] == "counted or named"


def test_tables_compare_where_they_mean_the_same_and_nowhere_else(written, protocols, tmp_path, monkeypatch):
    one, parts = protocols["table1"], ("token", "generated")
    same = same_protocol(one, protocols["table4"])
    assert {(part, column, "k = 1") for part in parts for column in ("rel", "m_loc", "gap_high")} <= same
    assert ("edits", "joint", "generated, k = 1") in same
    assert ("token", "paper_rel", "k = 1") not in same  # of another table of the paper
    assert same_protocol(one, protocols["table2"]) == set()  # another K
    files, run = written["table1"]
    write_protocol(files, tmp_path / "shorter.json", run.model_copy(update={"cut": 5}))
    shorter = same_protocol(one, tmp_path / "shorter.json")
    assert ("token", "rel", "k = 1") in shorter and ("generated", "rel", "k = 1") not in shorter
    assert not [place for place in shorter if place[0] == "edits" and place[1] in ("joint", "both", "right_before")]
    write_protocol(files, tmp_path / "again.json", run)
    assert (tmp_path / "again.json").read_bytes() == one.read_bytes()
    monkeypatch.setattr(protocol, "__version__", "0.0.0")
    write_protocol(files, tmp_path / "older.json", run)
    assert same_protocol(one, tmp_path / "older.json") == set()
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(InputError, match=r"none\.json: no files and protocols"):
        same_protocol(one, tmp_path / "none.json")
