import itertools

import numpy as np
import pandas as pd
import pytest
from made_up_records import make_records
from naive_intervals import interval

from unike_lib.evaluation_config import StatisticsConfig
from unike_lib.reporting.figures import draw_methods, draw_sweep
from unike_lib.reporting.records import load_records
from unike_lib.reporting.sweeps import POINT, point_labels, sweep_table
from unike_lib.types import InputError

STATISTICS = StatisticsConfig()


def sweep_files(config, save, name, leave_out=()):
    """Records of every point of a sweep; later points score a little lower."""
    sweep = config.figures.sweep(name)
    paths = []
    for cell in [(b, t, m) for b in sweep.backbones for t in sweep.tasks for m in sweep.vary]:
        parts = [
            make_records(cell, shift=-number / 20, field=field, value=value)
            for number, (field, value) in enumerate(map(point_labels, sweep.points(cell[2])))
            if value not in leave_out
        ]
        paths.append(save(pd.concat(parts), "-".join((name, *cell))))
    return paths


def outputs(folder, name="figure"):
    files = {kind: folder / f"{name}.{kind}" for kind in ("pdf", "png", "csv")}
    return files | {f"mmedit_{kind}": folder / f"{name}_mmedit.{kind}" for kind in ("pdf", "png")}


def numbers(folder):
    """Only what is plotted: saving a figure takes seconds."""
    return {"csv": folder / "figure.csv"}


def plotted(folder, criterion="token"):
    """The plotted numbers by one criterion."""
    table = pd.read_csv(folder / "figure.csv", dtype={"value": str})
    return table[table["criterion"] == criterion]


@pytest.mark.parametrize(
    ("name", "points"), [("frontier", 2 * 2 * 2 * 3), ("fixed-alpha", 1 * 2 * 3), ("zetas", 2 * 1 * 2)]
)
def test_a_sweeps_numbers_are_means_of_records_in_its_order(config, save, tmp_path, name, points):
    paths = sweep_files(config, save, name)
    draw_sweep(paths[::-1], numbers(tmp_path), config.figures.sweep(name), config.statistics)
    sweep = config.figures.sweep(name)
    records = pd.concat([pd.read_parquet(path) for path in paths])
    aims = {"generality": ["t_gen", "m_gen"], "locality": ["t_loc", "m_loc"]}
    for criterion, (aim, kinds) in itertools.product(("token", "mmedit"), aims.items()):
        table = plotted(tmp_path, criterion)
        assert len(table) == points
        assert table["value"].tolist() == points // len(sweep.points("unike")) * [
            point_labels(point)[1] for point in sweep.points("unike")
        ]
        chosen = records[records["kind"].isin(kinds)]
        means = 100 * chosen.groupby(["backbone", "task", "method", "value"])[criterion].mean()
        for row in table.to_dict("records"):
            assert row[aim] == pytest.approx(means[row["backbone"], row["task"], row["method"], row["value"]], abs=1e-4)


def test_differences_are_paired_with_the_method_as_it_is(config, save, tmp_path):
    paths = sweep_files(config, save, "readings")
    draw_sweep(paths, numbers(tmp_path), config.figures.sweep("readings"), config.statistics)
    table = plotted(tmp_path)
    assert list(zip(table["field"], table["value"], strict=True))[:2] == [
        ("rotate_memory", "true"),
        ("attention", "raw"),
    ]
    records = pd.concat([pd.read_parquet(path) for path in paths])
    rel = records[records["kind"] == "rel"].set_index(["backbone", "task", "case"]).sort_index()
    for row in table.to_dict("records"):
        cell = rel.loc[(row["backbone"], row["task"])]
        paired = cell[cell["field"] == row["field"]]["token"] - cell[cell["field"] == ""]["token"]
        ends = interval([paired.tolist()], cell[cell["field"] == ""]["facts"].tolist(), "differences")
        assert row["reliability"] == pytest.approx(100 * paired.mean(), abs=1e-4)
        found = [row["reliability_low"], row["reliability_high"]]
        assert found == pytest.approx([100 * end for end in ends], abs=1e-4)


def test_no_difference_is_not_certain(config, save):
    sweep = config.figures.sweep("readings").model_copy(update={"backbones": ("left",), "tasks": ("vqa",)})
    base = make_records(("left", "vqa", "unike"), field="", value="")
    parts = [
        base,
        *(
            base.assign(field=f, value=v, token=base["token"] / 1.0)
            for f, v in (("rotate_memory", "true"), ("attention", "raw"))
        ),
    ]
    table = sweep_table(load_records([save(pd.concat(parts))], POINT), sweep, "token", STATISTICS)
    end = 100 * 3.841459 / (8 + 3.841459)  # twelve edits worth eight, see test_tables.py
    assert np.allclose(table[["reliability", "reliability_low", "reliability_high"]], [0, -end, end])


@pytest.mark.parametrize("name", ["frontier", "fixed-alpha", "zetas", "readings"])
def test_drawing_twice_gives_the_same_bytes(config, save, tmp_path, name):
    paths = sweep_files(config, save, name)
    one, two = outputs(tmp_path, "a"), outputs(tmp_path, "b")
    for files in (one, two):
        draw_sweep(paths, files, config.figures.sweep(name), config.statistics)
    assert all(one[kind].read_bytes() == two[kind].read_bytes() for kind in one)
    assert all(b"CreationDate" not in file.read_bytes() for file in one.values())
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "a_mmedit.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_sweeps_are_refused(config, save, tmp_path):
    def draw(*paths):
        draw_sweep(paths, numbers(tmp_path), config.figures.sweep("frontier"), config.statistics)

    with pytest.raises(InputError, match="no column field, value"):
        draw(save(make_records(("left", "vqa", "unike"))))
    with pytest.raises(InputError, match="records of method base, expected t-patcher, unike"):
        draw(save(make_records(("left", "vqa", "base"), field="memory_weight", value="0.0")))
    missing = sweep_files(config, save, "frontier", leave_out=["0.01"])
    with pytest.raises(InputError, match=r"no records of left, vqa, t-patcher with memory_weight = 0\.01"):
        draw(*missing)
    silent = [
        save(pd.read_parquet(path).assign(generated=np.nan), path.stem) for path in sweep_files(config, save, "zetas")
    ]
    with pytest.raises(InputError, match="generated was not measured"):
        sweep_table(load_records(silent, POINT, ("generated",)), config.figures.sweep("zetas"), "generated", STATISTICS)


def test_methods_as_they_are(config, cells, tmp_path):
    chosen = [path for path in cells if path.stem.endswith(("t-patcher", "-unike"))]
    draw_methods(chosen, outputs(tmp_path), config.figures, config.statistics)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    table = plotted(tmp_path)
    assert list(zip(table["backbone"], table["task"], table["method"], strict=True))[:3] == [
        ("left", "vqa", "t-patcher"),
        ("left", "vqa", "unike"),
        ("left", "caption", "t-patcher"),
    ]
    records = pd.concat([pd.read_parquet(path) for path in chosen])
    means = records[records["kind"] == "rel"].groupby(["backbone", "task", "method"])["token"].mean()
    for row in table.to_dict("records"):
        assert row["reliability"] == pytest.approx(100 * means[row["backbone"], row["task"], row["method"]], abs=1e-4)
    with pytest.raises(InputError, match="fig2a: no token scores of left, vqa, unike"):
        draw_methods(
            [path for path in chosen if "unike" not in path.stem], numbers(tmp_path), config.figures, config.statistics
        )
