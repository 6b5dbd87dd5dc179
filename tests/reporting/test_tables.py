import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_records import BACKBONES, METHODS, TASKS, make_records, with_tables
from naive_intervals import interval

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.config.tables import TableConfig
from unike_lib.criterion import find_criterion
from unike_lib.family import families
from unike_lib.io import write_table as write_parquet
from unike_lib.method import methods, paper_row, row_title
from unike_lib.probe_kinds import KINDS, can_name_kind
from unike_lib.reporting.cells import cell_table
from unike_lib.reporting.contrasts import paired_differences
from unike_lib.reporting.markdown import cell, markdown_table
from unike_lib.reporting.paper_numbers import paper_table, short_title
from unike_lib.reporting.records import ROW, load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table, scores_by_cell
from unike_lib.reporting.tables import write_diagnostics, write_result_table
from unike_lib.table_parts import report_parts, table_parts
from unike_lib.types import PROBE_KINDS, InputError

ROOT = Path(__file__).parents[2]
STATISTICS = StatisticsConfig()


def outputs(folder):
    names = {"token": "table1", "mmedit": "table1_mmedit", "exact": "table1_exact", "generated": "table1_generated"}
    return {key: folder / f"{name}.csv" for key, name in names.items()} | {"markdown": folder / "table1.md"}


@pytest.fixture(scope="module")
def table1(cells, config, control, tmp_path_factory):
    paths = outputs(tmp_path_factory.mktemp("table1"))
    write_result_table({"table1": cells}, control, paths, table_parts(config, "table1"))
    return paths


def test_every_cell_of_table1_equals_a_plain_group_by(cells, table1):
    records = pd.concat([pd.read_parquet(path) for path in cells])
    for criterion in ("token", "mmedit", "exact", "generated"):
        means = 100 * records.groupby(["backbone", "task", "method", "kind"])[criterion].mean()
        table = pd.read_csv(table1[criterion])
        assert len(table) == len(BACKBONES) * len(TASKS) * len(METHODS)
        for row in table.to_dict("records"):
            for kind in PROBE_KINDS:
                expected = means[row["backbone"], row["task"], row["method"], kind]
                assert row[kind] == pytest.approx(expected, abs=1e-4)


def test_intervals_of_table1_are_those_of_its_edits_and_their_facts(cells, table1):
    """Of one cell by every criterion, from its records, by loops (neighbouring edits share a fact)."""
    table = {name: pd.read_csv(table1[name]).set_index(["backbone", "task", "method"]) for name in ("token", "exact")}
    records = pd.read_parquet(next(path for path in cells if path.stem == "right-vqa-unike"))
    for criterion, kind in (("token", "rel"), ("token", "m_loc"), ("exact", "t_gen")):
        part = records[records["kind"] == kind]
        expected = interval([part[criterion].tolist()], part["facts"].tolist(), "scores")
        row = table[criterion].loc[("right", "vqa", "unike")]
        assert row[[f"{kind}_low", f"{kind}_high"]].tolist() == pytest.approx([100 * end for end in expected], abs=1e-4)
        wide = records.pivot(index="case", columns="kind", values=criterion).loc[part["case"]]
        gaps = (wide["t_gen"] + wide["m_gen"] - wide["t_loc"] - wide["m_loc"]) / 2
        expected = gaps.mean(), *interval([gaps.tolist()], part["facts"].tolist(), "differences")
        assert row[["gap", "gap_low", "gap_high"]].tolist() == pytest.approx([100 * e for e in expected], abs=1e-4)


def test_table1_stands_beside_the_papers_numbers(table1):
    table = pd.read_csv(table1["token"]).set_index(["backbone", "task", "method"])
    assert table.loc[("left", "vqa", "unike"), "paper_m_gen"] == 94.8
    assert table.loc[("right", "caption", "t-patcher"), "paper_t_loc"] == 93.9
    assert list(dict.fromkeys(table.index.get_level_values("method"))) == list(METHODS)
    text = table1["markdown"].read_text()
    assert "not comparable with the paper's" in text and "failed edits: unike 1" in text
    first = next(line for line in text.splitlines() if line.startswith("| T-Patcher"))
    row = table.loc[("left", "vqa", "t-patcher")]
    assert f"| {row['rel']:.1f} ({row['rel_low']:.1f} to {row['rel_high']:.1f}) |" in first
    assert "| *paper: T-Patcher* | *85.6* | *80.3* | *74.6* | *90.5* | *89.7* | *85.6* |" in text


def test_table1_says_whose_control_is_not_passed(table1):
    text = table1["markdown"].read_text()
    assert "- left: passes. " in text and "- right: DOES NOT PASS (slot). " in text
    left, right = text.split("## Criterion `mmedit`")[0].split("### right")
    assert "did not pass the positive control" not in left and right.startswith(
        " (the paper's: MiniGPT-4), did not pass the positive control: VQA, caption\n"
    )
    marked = [line.split("|")[1].strip() for line in text.splitlines() if "control not passed" in line]
    assert set(marked) == {f"{name} *(control not passed: VQA, caption)*" for name in ("UniKE", "UniKE (unike-paper)")}
    assert "control not passed" not in left
    table = pd.read_csv(table1["exact"])
    doubted = table.loc[~table["control_passed"], ["backbone", "method"]].drop_duplicates()
    assert doubted.to_numpy().tolist() == [["right", "unike"], ["right", "unike-paper"]]


@pytest.mark.parametrize("run", [0, 1])
def test_a_table_without_a_control_says_so(cells, table1, config, control, tmp_path, run):
    """Where the control was not run, nobody knows whether readers' rows count; other rows and all numbers stay."""
    write_result_table({"table1": cells}, control[:run], outputs(tmp_path), table_parts(config, "table1"))
    table, before = (pd.read_csv(files["exact"]) for files in (outputs(tmp_path), table1))
    unknown = table["control_passed"].isna()
    missing = ["left", "right"][run:]
    assert set(table.loc[unknown, "method"]) == {"unike", "unike-paper"}
    assert list(dict.fromkeys(table.loc[unknown, "backbone"])) == missing
    pd.testing.assert_frame_equal(table.drop(columns="control_passed"), before.drop(columns="control_passed"))
    assert (table.loc[~unknown, "control_passed"].astype(bool) == before.loc[~unknown, "control_passed"]).all()
    text = outputs(tmp_path)["markdown"].read_text()
    assert f"**Positive control not run** ({', '.join(missing)}): `make results/positive_control.md`" in text
    assert [name for name in ("left", "right") if f"- {name}: not run;" in text] == missing
    assert "control not passed" not in text


def test_table1_does_not_depend_on_the_order_of_files_or_rows(cells, table1, config, control, save, tmp_path):
    shuffled = [save(pd.read_parquet(path).sample(frac=1, random_state=1), path.stem) for path in cells]
    write_result_table({"table1": shuffled[::-1]}, control[::-1], outputs(tmp_path), table_parts(config, "table1"))
    for name, path in outputs(tmp_path).items():
        assert path.read_bytes() == table1[name].read_bytes()


def test_a_variant_without_a_row_in_the_paper_stands_alone(config, control, save, tmp_path):
    rows = TableConfig(title="Mine", paper="table1", backbones=["left"], tasks=["vqa"], methods=["unike", "no-zeta"])
    methods = config.methods | {"no-zeta": {"like": "unike", "zeta": "off"}}
    narrow = with_tables(config.model_copy(update={"methods": methods}), table1=rows)
    paths = [save(make_records(("left", "vqa", name)), name) for name in rows.methods]
    write_result_table({"table1": paths}, control, outputs(tmp_path), table_parts(narrow, "table1"))
    table = pd.read_csv(tmp_path / "table1.csv").set_index("method")
    assert table["paper_rel"].isna().tolist() == [False, True]
    lines = (tmp_path / "table1.md").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("| variant (no-zeta)"))
    assert lines[place + 1] == ""


def test_rows_are_named_by_the_rooms_of_their_methods(config):
    entries = config.methods | {"ft": {"method": "fine-tune"}, "mine": {"like": "unike"}}
    titles = {"fine-tune": "FT", "unike": "UniKE", "unike-paper": "UniKE (unike-paper)", "ft": "FT (ft)"}
    titles |= {"only-intrin": "only Intrin (only-intrin)", "mine": "variant (mine)"}
    assert {name: row_title(entries, name) for name in titles} == titles
    rows = {"ft": "FT", "unike-paper": "UniKE", "only-latent-ike": "only Latent-IKE", "mine": ""}
    assert {name: paper_row(entries, name) for name in rows} == rows
    short = {"unike": "UniKE", "unike-paper": "unike-paper", "only-intrin": "only Intrin", "mine": "mine"}
    assert {name: short_title(name) for name in short} == short
    run = table_parts(config, "table4")
    assert run.titles["only-intrin"] == titles["only-intrin"] and run.paper_rows["unike"] == "UniKE"
    assert report_parts(config).kinds["unike-paper"] == "unified" and report_parts(config).kinds["base"] == "unedited"


def test_a_table_without_unike_has_no_differences(config, control, save, tmp_path):
    rows = TableConfig(
        title="Mine", paper="table1", backbones=["left"], tasks=["vqa"], methods=["fine-tune", "t-patcher"]
    )
    paths = [save(make_records(("left", "vqa", name)), name) for name in rows.methods]
    files = outputs(tmp_path) | {"differences": tmp_path / "differences.csv"}
    write_result_table({"table1": paths}, control, files, table_parts(with_tables(config, table1=rows), "table1"))
    assert pd.read_csv(files["differences"]).columns.tolist() == [
        "criterion",
        "backbone",
        "task",
        "k",
        "first",
        "second",
    ]
    assert "minus each other method" not in files["markdown"].read_text()


def test_facts_edits_and_failures_are_counted(save):
    table = score_table(load_records([save(make_records(("left", "vqa", "unike")))]), "token", STATISTICS)
    assert table.loc[0, ["edits", "failed", "clusters"]].tolist() == [
        12,
        1,
        6 + 12,
    ]  # each pair's fact, each edit's own


def test_sessions_of_several_edits_are_the_clusters(save):
    records = make_records(("left", "vqa", "unike"), k=4)
    assert score_table(load_records([save(records)]), "token", STATISTICS).loc[0, "clusters"] == 3


def test_columns_average_kinds_edit_by_edit(save):
    records = load_records([save(make_records(("left", "vqa", "base")))])
    table = score_table(records, "token", STATISTICS, columns=THREE_AIMS)
    chosen = records[records["kind"].isin(["t_gen", "m_gen"])]
    assert table.loc[0, "generality"] == pytest.approx(100 * chosen["token"].mean())


def test_generation_that_was_off_leaves_empty_cells(save):
    records = load_records([save(make_records(("left", "vqa", "base"), generated=False))], criteria=("generated",))
    assert score_table(records, "generated", STATISTICS)[["rel", "rel_low"]].isna().all(axis=None)


def test_paired_differences_are_of_the_same_edits(save):
    first, second = make_records(("left", "vqa", "unike")), make_records(("left", "vqa", "t-patcher"))
    frame = load_records([save(first, "first"), save(second, "second")])
    scores = scores_by_cell(frame, "token", keys=ROW)
    row = paired_differences(scores, ("unike", "t-patcher"), STATISTICS).iloc[0]
    ours, theirs = (part[part["kind"] == "m_gen"].set_index("case") for part in (first, second))
    paired = ours["token"] - theirs["token"][ours.index]
    expected = paired.mean(), *interval([paired.tolist()], ours["facts"].tolist(), "differences")
    assert row[["m_gen", "m_gen_low", "m_gen_high"]].tolist() == pytest.approx([100 * end for end in expected])


def test_a_difference_that_is_the_same_for_all_edits_is_not_certain(save):
    """Of zero: 12 edits, of which two share one of their two facts: worth 8; 1.96^2 / (8 + 1.96^2) of the scale."""
    first = make_records(("left", "vqa", "unike"))
    frame = load_records([save(first, "first"), save(first.assign(method="same"), "second")])
    row = paired_differences(scores_by_cell(frame, "token", keys=ROW), ("unike", "same"), STATISTICS).iloc[0]
    end = 100 * 3.841459 / (8 + 3.841459)
    assert row[["rel", "rel_low", "rel_high"]].tolist() == pytest.approx([0.0, -end, end])


def test_few_sessions_have_no_interval_and_the_table_says_so(save, config, control, tmp_path):
    rows = config.tables["table2"].model_copy(update={"tasks": ("vqa",), "methods": ("unike",), "ks": (4, 6)})
    cell = ("right", "vqa", "unike")
    paths = [save(make_records(cell, edits=25, k=k), f"k{k}") for k in rows.ks]
    files = {key: tmp_path / f"table2_{key}" for key in ("token", "markdown")}
    write_result_table({"table2": paths}, control, files, table_parts(with_tables(config, table2=rows), "table2"))
    table = pd.read_csv(files["token"]).set_index("k")
    assert table["rel_low"].isna().to_dict() == {4: False, 6: True}
    assert table["independent"].to_dict() == pytest.approx({4: 25**2 / 97, 6: 25**2 / 145}, abs=1e-4)
    text = files["markdown"].read_text()
    assert "No interval where fewer than 5 edits or sessions are independent" in text
    assert "covers there: right, VQA, K = 6 (4.3 independent).\n" in text


def test_scores_are_means_over_seeds_and_intervals_over_edits(save):
    """Two seeds: values and intervals are those of one run with the mean scores; in a shuffled session too."""
    first, second = (
        make_records(("left", "vqa", "unike"), k=4, shift=shift, seed=seed) for shift, seed in ((0, 3), (-0.2, 4))
    )
    mean = first.assign(token=(first["token"] + second["token"]) / 2)
    second["position"] = second["k"] - 1 - second["position"]
    over_seeds = score_table(load_records([save(first, "a"), save(second, "b")], ["k"]), "token", STATISTICS)
    at_once = score_table(load_records([save(mean, "c")], ["k"]), "token", STATISTICS)
    pd.testing.assert_frame_equal(over_seeds.drop(columns="failed"), at_once.drop(columns="failed"))
    assert over_seeds.loc[0, "edits"] == 12 and over_seeds.loc[0, "failed"] == 2


def without_kind(records):
    return records[~((records["kind"] == "m_loc") & (records["case"] == "vqa-2"))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop(columns="facts"), "no column facts"),
        (lambda r: r.iloc[:0], "no records"),
        (without_kind, "case vqa-2: no record of kind m_loc"),
        (lambda r: r.replace({"kind": {"rel": "other"}}), "no record of kind rel"),
        (lambda r: r.assign(token=r["token"].where(r["kind"] != "rel")), "token is nan, expected 0 .. 1"),
        (lambda r: r.assign(exact=100.0), "exact is 100.0"),
        (lambda r: r.assign(generated=r["generated"].where(r["kind"] != "rel")), "generated is nan"),
        (lambda r: r.assign(seed=np.where(r["session"] == 3, 4, 3)), "scored with seed [34], but not with every seed"),
        (lambda r: r.assign(k=np.where(r["session"] == 3, 10, 1)), "k is 10, expected 1"),
        (lambda r: pd.concat([r, r.iloc[:1]]), "a second record"),
    ],
)
def test_bad_records_are_refused_by_file(save, change, message):
    path = save(change(make_records(("left", "vqa", "base"))), "odd")
    with pytest.raises(InputError, match=message) as caught:
        load_records([path], criteria=("token", "exact", "generated"))
    assert str(path) in str(caught.value)


def test_files_that_do_not_fit_together_are_refused(save, cells, config, control, tmp_path):
    with pytest.raises(InputError, match="no files given"):
        load_records([])
    other = save(make_records(("left", "vqa", "base"), seed=9), "other")
    with pytest.raises(InputError, match="other edits than in"):
        load_records([cells[1], other])
    fewer = save(make_records(("left", "vqa", "fine-tune"), edits=11), "fewer")
    with pytest.raises(InputError, match="other edits than in"):
        load_records([cells[0], fewer])
    with pytest.raises(InputError, match="no records of backbone right, task caption, k 1, method unike-paper"):
        write_result_table({"table1": cells[:-1]}, control, outputs(tmp_path), table_parts(config, "table1"))
    with pytest.raises(InputError, match="no output 'tokens'"):
        write_result_table({"table1": cells}, control, {"tokens": tmp_path / "x.csv"}, table_parts(config, "table1"))


def test_diagnostics_are_joined(tmp_path):
    paths = []
    for name in BACKBONES:
        row = {"backbone": name, "task": "vqa", "set": "taught_rephrased_text", "items": 40, "exact": 0.9}
        paths.append(tmp_path / f"{name}.csv")
        pd.DataFrame([row | {"token": 0.95, "consistency": np.nan}]).to_csv(paths[-1], index=False)
    write_diagnostics(paths, {"csv": tmp_path / "all.csv", "markdown": tmp_path / "all.md"})
    assert pd.read_csv(tmp_path / "all.csv")["backbone"].tolist() == list(BACKBONES)
    assert "| left, VQA, taught rephrased text | 40 | 90.0 | 95.0 | - |" in (tmp_path / "all.md").read_text()
    pd.DataFrame({"backbone": ["left"]}).to_csv(paths[1], index=False)
    with pytest.raises(InputError, match=r"right\.csv: no column task"):
        write_diagnostics(paths, {"csv": tmp_path / "all.csv"})
    with pytest.raises(InputError, match="no files"):
        write_diagnostics([], {"csv": tmp_path / "all.csv"})


def test_markdown_cells():
    row = {"rel": 3.25, "rel_low": -1.0, "rel_high": 7.0, "m": 2.0, "m_low": np.nan, "m_high": np.nan}
    assert cell(row, "rel", signed=True) == "+3.2 (-1.0 to +7.0)"
    assert cell(row, "m") == "2.0"
    with pytest.raises(ValueError, match="2 cells, expected 1"):
        markdown_table(["a"], [["1", "2"]])


def test_a_family_that_the_paper_does_not_have_stands_alone(cells, config, control, tmp_path):
    left = config.backbones["left"].model_copy(update={"family": "smolvlm", "folder": "somewhere"})
    config = config.model_copy(update={"backbones": config.backbones | {"left": left}})
    write_result_table({"table1": cells}, control, outputs(tmp_path), table_parts(config, "table1"))
    table = pd.read_csv(tmp_path / "table1.csv")
    assert set(table.loc[table["paper_rel"].isna(), "backbone"]) == {"left"}
    assert set(paper_table("table1")["backbone"]) == {family.paper for family in families().values()} - {None}


def test_the_papers_tables_are_there():
    table = paper_table("table1")
    assert len(table) == 32 and {method.title for method in methods().values() if method.kind != "other"} == set(
        table["method"]
    )
    assert paper_table("figure4c")["generality"].max() == 95.1
    assert [len(paper_table(name)) for name in ("table2", "table3", "table4", "table5")] == [24, 6, 10, 13]


def test_many_cells_take_seconds():
    methods = [f"m{number}" for number in range(10)]
    frame = pd.concat([make_records(("left", "vqa", "base"), edits=300).assign(method=name) for name in methods])
    start = time.process_time()
    table = score_table(frame, "token", STATISTICS)
    assert len(table) == 10
    assert time.process_time() - start < 5


def test_reporting_never_imports_torch():
    modules = [f"unike_lib.reporting.{path.stem}" for path in (ROOT / "unike_lib" / "reporting").glob("[a-z]*.py")]
    assert len(modules) > 10
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("asked", [("portability", "Port."), ("hop", "hop")], ids=lambda asked: asked[0])
def test_a_further_kind_is_a_column_where_records_have_it(asked, tmp_path, cells, table1, config, control):
    """Of the first backbone's VQA edits, the first four ask it; the five metrics stay as they are."""
    (kind, title), files = asked, []
    for path in cells:
        records = pd.read_parquet(path)
        if (records["backbone"] == BACKBONES[0]).all() and (records["task"] == "vqa").all():
            extra = records[(records["kind"] == "rel") & (records["session"] < 4)].assign(kind=kind)
            records = pd.concat([records, extra.assign(token=[0.0, 0.25, 0.5, 1.0])])
        files.append(tmp_path / path.name)
        write_parquet(files[-1], records, "fingerprint")
    plain, ported = table1, outputs(tmp_path)
    write_result_table(
        {"table1": files},
        control,
        ported,
        table_parts(config, "table1"),
        ["**Of the 9 records of x.json, 2 are left out.**"],
    )
    before, after = pd.read_csv(plain["token"]), pd.read_csv(ported["token"])
    pd.testing.assert_frame_equal(after[before.columns], before)
    here = after[(after["backbone"] == BACKBONES[0]) & (after["task"] == "vqa")]
    assert (here[kind] == 43.75).all() and (here[f"{kind}_edits"] == 4).all()
    assert after.drop(here.index)[kind].isna().all()
    assert f"VQA {title} |" in ported["markdown"].read_text() and "2 are left out" in ported["markdown"].read_text()
    assert here[f"{kind}_low"].isna().all()
    assert f"covers there: left, VQA, {title} (4 edits)." in ported["markdown"].read_text()
    assert f"VQA {title} |" not in plain["markdown"].read_text() and kind not in before
    others = {*after.columns} - {*KINDS, kind}
    assert len(others) > 20 and not any(map(can_name_kind, others))  # no kind may be called as they are


def test_a_session_in_which_no_edit_is_asked_a_kind_has_no_number_of_it(config):
    """Two tiers of the same edits in one file, alone and in sessions of two: some are asked alone only."""
    entry = TableConfig(title="x", backbones=["left"], methods=["unike"], tasks=["vqa"], ks=[1, 2])
    run = table_parts(with_tables(config, mine=entry), "mine")
    records = pd.concat([make_records(("left", "vqa", "unike"), edits=4, k=k) for k in (1, 2)]).assign(file="f")
    extra = records[records["kind"] == "rel"].assign(kind="near_picture")
    alone, beside = extra[extra["k"] == 1], extra[(extra["k"] == 2) & (extra["case"] == "vqa-1")]
    never = alone.assign(kind="near_question", token=0.25)
    table, _ = cell_table(
        {"mine": pd.concat([records, alone.assign(token=0.5), beside.assign(token=1.0), never])},
        find_criterion("token"),
        {"left": {}},
        run.model_copy(update={"readers": ()}),
    )
    assert table["near_picture"].tolist() == [50.0, 100.0] and table["near_picture_edits"].tolist() == [4, 1]
    assert table["near_question"].tolist()[0] == 25.0 and table["near_question"].isna().tolist() == [False, True]
