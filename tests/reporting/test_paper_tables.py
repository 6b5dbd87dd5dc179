"""Tables 2 to 5 against plain pandas on the records, and Table 5 against the paper's own tables."""

import numpy as np
import pandas as pd
import pytest
from made_up_records import BACKBONES, TASKS, VARIANTS, make_records, with_tables
from naive_intervals import interval

from unike_lib.reporting.averages import average_of_cells, paper_averages
from unike_lib.reporting.departures import table_departures
from unike_lib.reporting.paper_numbers import paper_cells
from unike_lib.reporting.records import load_records
from unike_lib.reporting.scores import THREE_AIMS, score_table
from unike_lib.reporting.tables import write_result_table
from unike_lib.table_parts import table_parts
from unike_lib.types import PROBE_KINDS, InputError

CRITERIA = ("token", "mmedit", "exact", "generated")


def outputs(folder, name):
    names = (*CRITERIA, "differences")
    return {key: folder / f"{name}_{key}.csv" for key in names} | {
        kind: folder / f"{name}.{kind}" for kind in ("markdown", "latex")
    }


@pytest.fixture(scope="module")
def tables(table_cells, control, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    paths = {name: outputs(folder, name) for name in ("table2", "table3", "table4", "table5")}
    for name in ("table2", "table3", "table4"):
        write_result_table({name: table_cells[name]}, control, paths[name], table_parts(config, name))
    write_result_table(averaged(table_cells), control, paths["table5"], table_parts(config, "table5"))
    return paths


def averaged(cells):
    return {name: cells[name] for name in ("table1", "table2")}


def records_of(paths):
    return pd.concat([pd.read_parquet(path) for path in paths])


@pytest.mark.parametrize("name", ["table2", "table3", "table4"])
def test_every_cell_equals_a_plain_group_by(name, tables, table_cells):
    records = records_of(table_cells[name])
    for criterion in CRITERIA:
        means = 100 * records.groupby(["backbone", "task", "k", "method", "kind"])[criterion].mean()
        table = pd.read_csv(tables[name][criterion])
        assert len(table) == len(means) / 5
        for row in table.to_dict("records"):
            for kind in PROBE_KINDS:
                assert row[kind] == pytest.approx(means[*(row[key] for key in means.index.names[:4]), kind], abs=1e-4)


def test_the_order_and_the_papers_numbers_are_those_of_each_table(tables):
    sequential = pd.read_csv(tables["table2"]["token"])
    cells = sequential[["task", "k", "method"]].itertuples(index=False, name=None)
    assert list(cells) == [(t, k, m) for k in (10, 20) for t in TASKS for m in ("t-patcher", "unike")]
    keyed = sequential.set_index(["task", "k", "method"])
    assert keyed.loc[("vqa", 10, "unike"), "paper_rel"] == 91.5
    assert keyed.loc[("caption", 20, "t-patcher"), "paper_m_loc"] == 79.8
    cross = pd.read_csv(tables["table3"]["mmedit"]).set_index("method")
    assert cross.loc["unike", "paper_m_gen"] == 86.8 and set(cross["task"]) == {"cross"}
    ablation = pd.read_csv(tables["table4"]["token"]).set_index(["task", "method"])
    assert ablation.loc[("vqa", "only-latent-ike"), "paper_t_loc"] == 54.1
    assert ablation.loc[("caption", "intrin-latent-ike"), "paper_m_loc"] == 85.5
    assert ablation["paper_rel"].notna().all()


def test_sessions_and_the_partial_last_one_are_reported(tables):
    table = pd.read_csv(tables["table2"]["token"])
    assert set(table["edits"]) == {25} and set(table.loc[table["k"] == 20, "clusters"]) == {2}
    assert table.groupby("k")["last_session"].unique().map(list).to_dict() == {10: [5], 20: [5]}
    text = tables["table2"]["markdown"].read_text()
    assert "- right, VQA, K = 10: 25 edits in 3 sessions of 10, the last one of 5; failed edits: unike 1" in text
    assert "### right, K = 20 (the paper's: MiniGPT-4), did not pass the positive control: VQA, caption" in text
    assert "over sessions (each counts as a whole;" in text and "over edits (" not in text
    lines = [line for line in text.splitlines() if line.startswith("| T-Patcher: right, caption, K = 20 | 25 |")]
    assert len(lines) == 2  # UniKE minus T-Patcher under two criteria
    assert "| *paper: UniKE* | *90.7* |" in tables["table3"]["markdown"].read_text()
    assert "in an order of its own" in tables["table3"]["markdown"].read_text()
    assert "over edits (those that share a fact" in tables["table4"]["markdown"].read_text()


def test_only_variants_that_read_the_memory_are_marked(tables):
    lines = tables["table4"]["markdown"].read_text().splitlines()
    marked = {line.split("|")[1].split("*")[0].strip() for line in lines if "*(control not passed" in line}
    assert marked == {"UniKE", "only Latent-IKE (only-latent-ike)", "Intrin+Latent-IKE (intrin-latent-ike)"}
    assert any(line.startswith("| only Intrin (only-intrin) |") for line in lines)
    assert len(VARIANTS) == 3


def test_intervals_of_sequential_editing_are_over_sessions(save, config):
    records = load_records([save(make_records(("right", "vqa", "unike"), edits=23, k=4))], ["k"])
    table = score_table(records, "token", config.statistics)
    rel = records[records["kind"] == "rel"]
    low, high = interval([rel["token"].tolist()], [(str(name),) for name in rel["session"]], "scores")
    assert table.loc[0, ["rel_low", "rel_high"]].tolist() == pytest.approx([100 * low, 100 * high])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_table5_equals_plain_means_of_means(criterion, tables, table_cells):
    table = pd.read_csv(tables["table5"][criterion]).set_index(["setting", "method"])
    assert set(table.index.get_level_values("setting")) == {"one-step", "sequential"}
    for setting, source in (("one-step", "table1"), ("sequential", "table2")):
        records = records_of(table_cells[source])
        cells = 100 * records.groupby(["method", "backbone", "task", "k", "kind"])[criterion].mean().unstack("kind")
        for method, rows in cells.groupby(level="method"):
            row = table.loc[(setting, method)]
            assert row["cells"] == len(rows) == 4
            assert row["reliability"] == pytest.approx(rows["rel"].mean(), abs=1e-4)
            assert row["generality"] == pytest.approx(rows[["t_gen", "m_gen"]].to_numpy().mean(), abs=1e-4)
            assert row["locality"] == pytest.approx(rows[["t_loc", "m_loc"]].to_numpy().mean(), abs=1e-4)


def test_table5_of_the_papers_own_cells_is_the_papers_but_for_two_rows():
    """READINGS 5: KE's locality and MEND's three one-step entries do not follow from Table 1."""
    table = paper_averages("table5", {"one-step": "table1", "sequential": "table2"})
    odd = {("one-step", "KE", "locality")} | {("one-step", "MEND", aim) for aim in THREE_AIMS}
    for row in table.to_dict("records"):
        for aim in THREE_AIMS:
            printed, ours = row[aim], row[f"{aim}_recomputed"]
            if (row["setting"], row["method"], aim) not in odd:
                assert ours == pytest.approx(printed, abs=0.1), row
    one_step = table[table["setting"] == "one-step"].set_index("method")
    assert one_step.loc["KE", "locality_recomputed"] == pytest.approx(80.7, abs=0.06)
    mend = one_step.loc["MEND", [f"{aim}_recomputed" for aim in THREE_AIMS]]
    assert mend.tolist() == pytest.approx([97.7, 87.6, 89.3], abs=0.06)
    assert len(table) == 13


def test_cells_weigh_the_same_however_many_edits_they_have():
    cells = paper_cells("table1").query("method == 'UniKE'")
    by_hand = cells[["t_gen", "m_gen"]].to_numpy().sum() / 8
    assert average_of_cells(cells).loc[0, "generality"] == pytest.approx(by_hand)


def aim_of(records, aim):
    """Return an aim's scores, edit by edit, in [0, 1], with what the records say of each edit."""
    wide = records.pivot(index=["session", "case"], columns="kind", values="token").reset_index()
    rel = records[records["kind"] == "rel"].set_index("case")
    return wide.assign(score=wide[list(THREE_AIMS[aim])].mean(axis=1), facts=list(rel.loc[wide["case"], "facts"]))


def test_table5_rests_on_facts_that_backbones_share(tables, table_cells):
    """One-step: the same edits on two backbones, and neighbours with a common fact, are no more evidence."""
    row = pd.read_csv(tables["table5"]["token"]).set_index(["setting", "method"]).loc[("one-step", "t-patcher")]
    records = records_of(table_cells["table1"]).query("method == 't-patcher'")
    groups = [records[(records["backbone"] == b) & (records["task"] == t)] for b in BACKBONES for t in TASKS]
    for aim in THREE_AIMS:
        cells = [aim_of(group, aim) for group in groups]
        facts = [names for cell in cells for names in cell["facts"]]
        expected = interval([cell["score"].tolist() for cell in cells], facts, "scores")
        assert row[[f"{aim}_low", f"{aim}_high"]].tolist() == pytest.approx([100 * e for e in expected], abs=1e-4)


def test_sessions_of_all_lengths_count_together(save, config, control, tmp_path):
    """Two sessions of 4 and the one of 8 that holds them are one cluster: 48 edits make six."""
    rows = config.tables["table2"].model_copy(
        update={"tasks": ("vqa",), "methods": ("t-patcher", "unike"), "ks": (4, 8)}
    )
    one = config.tables["table1"].model_copy(update={"backbones": ("right",), "tasks": ("vqa",), "methods": ("unike",)})
    small = with_tables(config, table1=one, table2=rows)
    frames = {(k, m): make_records(("right", "vqa", m), edits=48, k=k) for k in rows.ks for m in rows.methods}
    paths = [save(frame, f"{k}-{method}") for (k, method), frame in frames.items()]
    alone = save(make_records(("right", "vqa", "unike")), "one")
    write_result_table(
        {"table1": [alone], "table2": paths}, control, outputs(tmp_path, "t"), table_parts(small, "table5")
    )
    row = pd.read_csv(tmp_path / "t_token.csv").set_index(["setting", "method"]).loc[("sequential", "unike")]
    cells = {key: aim_of(frame, "generality") for key, frame in frames.items()}
    # In both cells an edit's cluster is its session of eight; cases are numbered in the order of editing.
    sessions = [(f"eight {int(case.split('-')[1]) // 8}",) for k in rows.ks for case in cells[k, "unike"]["case"]]
    scores = [cells[k, "unike"]["score"] for k in rows.ks]
    expected = interval([score.tolist() for score in scores], sessions, "scores")
    assert row[["generality_low", "generality_high"]].tolist() == pytest.approx([100 * e for e in expected], abs=1e-4)
    assert row["independent"] == 6
    difference = pd.read_csv(tmp_path / "t_differences.csv").query("criterion == 'token'").iloc[0]
    paired = [(score - cells[k, "t-patcher"]["score"]).tolist() for k, score in zip(rows.ks, scores, strict=True)]
    expected = np.mean(paired), *interval(paired, sessions, "differences")
    found = difference[["generality", "generality_low", "generality_high"]].tolist()
    assert found == pytest.approx([100 * e for e in expected], abs=1e-4)


def test_a_missing_cell_of_table5_is_named(table_cells, config, control, tmp_path):
    run = table_parts(config, "table5")
    with pytest.raises(InputError, match="table2: no records of backbone right, task caption, k 20, method unike"):
        fewer = averaged(table_cells) | {"table2": table_cells["table2"][:-1]}
        write_result_table(fewer, control, outputs(tmp_path, "t"), run)
    with pytest.raises(InputError, match="table5: no output 'tokens'"):
        write_result_table(averaged(table_cells), control, {"tokens": tmp_path / "x"}, run)


def test_table5_in_words(tables):
    text = tables["table5"]["markdown"].read_text()
    assert "- sequential (Table 2): right; VQA, caption; K = 10, 20" in text
    assert "compare methods within a setting" in text
    assert "| *paper: one-step, T-Patcher* |  |  | *84.5* | *71.6* | *87.2* |" in text
    table = pd.read_csv(tables["table5"]["token"]).set_index(["setting", "method"])
    row = table.loc[("sequential", "unike")]
    # Of each task a session of twenty and one of five, and those of ten within them: 1 / (2 * (0.4^2 + 0.1^2)).
    assert row["independent"] == pytest.approx(1 / 0.34, abs=1e-4) and np.isnan(row["reliability_low"])
    assert "covers there: sequential (2.9 independent)." in text
    assert (row["cells"], row["control_not_passed"]) == (4, 4)  # all on the backbone that does not pass
    doubted = table["control_not_passed"]
    assert doubted["one-step", "unike"] == 2 and not doubted["one-step", "base"]
    start = "| sequential, UniKE *(control not passed in 4 of 4 cells)* | 4 | 100 | "
    start += f"{row['reliability']:.1f} |"
    assert start in text
    assert text.count("| sequential, T-Patcher | 4 | 100 | ") == 4 + 2  # four criteria; UniKE minus it under two


@pytest.mark.parametrize("criterion", ["token", "mmedit"])
def test_differences_are_of_the_tables_own_rows(criterion, tables):
    """UniKE minus another method, in its own file, is the difference of their two rows."""
    keys = {"table2": ["backbone", "task", "k"], "table4": ["backbone", "task", "k"], "table5": ["setting"]}
    for name, of_cell in keys.items():
        values = list(THREE_AIMS) if name == "table5" else list(PROBE_KINDS)
        table = pd.read_csv(tables[name][criterion]).set_index([*of_cell, "method"])[values]
        differences = pd.read_csv(tables[name]["differences"]).query("criterion == @criterion")
        assert set(differences["first"]) == {"unike"}
        assert len(differences) == (~table.index.get_level_values("method").isin(["unike", "base"])).sum()
        for row in differences.to_dict("records"):
            cell = tuple(row[key] for key in of_cell)
            expected = table.loc[(*cell, "unike")] - table.loc[(*cell, row["second"])]
            assert [row[value] for value in values] == pytest.approx(expected.tolist(), abs=2e-4)


def test_the_note_of_a_table_says_what_departs_from_the_originals(table_cells, config, control, tmp_path):
    """Made from the settings: a row's own on its own backbone, in Tables 1 to 4 and in their averages."""
    tuned = {
        "method": "unike",
        "steps": 10,
        "alpha_scale": 0.25,
        "by_backbone": {"left": {"alpha_scale": 1.0, "steps": 77}},
    }
    evaluation = config.evaluation.model_copy(update={"max_new_tokens": 19})
    original = {"method": "fine-tune", "steps": 15, "learning_rate": 1.5e-4, "teach_end": False}
    update = {"methods": config.methods | {"unike": tuned, "fine-tune": original}, "evaluation": evaluation}
    changed = config.model_copy(update=update)
    out = {name: {"markdown": tmp_path / f"{name}.md"} for name in ("table1", "table5")}
    write_result_table({"table1": table_cells["table1"]}, control, out["table1"], table_parts(changed, "table1"))
    write_result_table(averaged(table_cells), control, out["table5"], table_parts(changed, "table5"))
    for name in out:
        text = out[name]["markdown"].read_text()
        assert "(*What departs from the originals*)" in text.split("## Criterion")[0]
        note = text.split("## What departs from the originals")[1].split("\n## ")[0]
        rows = [line for line in note.splitlines() if line.startswith("- ") and " on " in line.split(":")[0]]
        assert [row.split(":")[0] for row in rows if "UniKE on" in row] == ["- UniKE on left", "- UniKE on right"]
        left, right = (row for row in rows if "UniKE on" in row)
        assert "alpha_scale 0.25 (UniKE Eq. 7: 1)" in right and "steps" not in right
        assert "alpha_scale" not in left and "steps 77 (released: 10)" in left
        assert "- FT on" not in note and "Base on" not in note
        assert "cuts answers after 19 tokens" in note and "without the latent shift" in note
        assert "ranks logits" in note
    second = changed.tables["table2"].model_copy(update={"methods": ("t-patcher", "ike")})
    other = with_tables(changed, table2=second)
    update = {"methods": changed.methods | {"ike": {"method": "ike", "demonstrations": 3}}}
    rows = table_departures(table_parts(other.model_copy(update=update), "table5"))
    assert "IKE on right: demonstrations 3 (MMEdit: 32), retriever backbone (MMEdit: minilm)." in rows


def test_table5_in_latex(tables):
    table = pd.read_csv(tables["table5"]["token"])
    text = tables["table5"]["latex"].read_text()
    assert r"Method & {Reliability} & {Generality} & {Locality} \\" in text
    for row in table[table["method"] != "base"].to_dict("records"):
        block = text.split(rf"\emph{{{row['setting']}}}")[1].split(r"\midrule")[0].replace(r"\bfseries ", "")
        assert " & ".join(f"{row[aim]:.1f}" for aim in ("reliability", "generality", "locality")) + r" \\" in block
    best = table[(table["method"] != "base") & (table["setting"] == "one-step")]["locality"].max()
    assert rf"\bfseries {best:.1f} \\" in text
