import pandas as pd
import pytest
from made_up_records import BACKBONES, TASKS, make_records

from unike_lib.reporting.figures import draw_encoder_losses, draw_frontier
from unike_lib.types import InputError

VALUES = (0.0, 0.01, 1.0)


@pytest.fixture
def sweeps(save):
    paths = []
    for backbone in BACKBONES:
        for task in TASKS:
            for method in ("t-patcher", "unike"):
                cell = (backbone, task, method)
                parts = [make_records(cell, shift=-value / 5, value=value) for value in VALUES]
                paths.append(save(pd.concat(parts), "-".join(cell)))
    return paths


def outputs(folder, name="frontier"):
    return {kind: folder / f"{name}.{kind}" for kind in ("pdf", "png", "csv")}


def test_the_frontiers_numbers_are_means_of_records(sweeps, config, tmp_path):
    draw_frontier(sweeps, outputs(tmp_path), config)
    points = pd.read_csv(tmp_path / "frontier.csv")
    assert len(points) == len(sweeps) * len(VALUES) and set(points["knob"]) == {"memory_weight"}
    records = pd.concat([pd.read_parquet(path) for path in sweeps])
    for aim, kinds in (("generality", ["t_gen", "m_gen"]), ("locality", ["t_loc", "m_loc"])):
        chosen = records[records["kind"].isin(kinds)]
        means = 100 * chosen.groupby(["backbone", "task", "method", "value"])["token"].mean()
        for row in points.to_dict("records"):
            assert row[aim] == pytest.approx(means[row["backbone"], row["task"], row["method"], row["value"]], abs=1e-4)


def test_drawing_twice_gives_the_same_bytes(sweeps, config, tmp_path):
    for name in ("a", "b"):
        draw_frontier(sweeps[:2], outputs(tmp_path, name), config)
    for kind in ("pdf", "png", "csv"):
        first = (tmp_path / f"a.{kind}").read_bytes()
        assert first == (tmp_path / f"b.{kind}").read_bytes()
        assert b"CreationDate" not in first
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_without_values_or_scores_is_refused(save, config, tmp_path):
    plain = save(make_records(("left", "vqa", "unike")))
    with pytest.raises(InputError, match="no column value"):
        draw_frontier([plain], outputs(tmp_path), config)
    other = save(make_records(("left", "vqa", "base"), value=1.0))
    with pytest.raises(InputError, match="records of method base, expected t-patcher, unike"):
        draw_frontier([other], outputs(tmp_path), config)
    silent = save(make_records(("left", "vqa", "unike"), generated=False, value=1.0))
    with pytest.raises(InputError, match="generated was not measured"):
        draw_frontier([silent], outputs(tmp_path), config, criterion="generated")


def write_losses(path, **columns):
    rows = [{"epoch": epoch, **{name: 1 / (1 + epoch) for name in columns}} for epoch in range(4)]
    pd.concat([pd.DataFrame(rows).assign(layer=layer) for layer in (2, 3)]).to_csv(path, index=False)
    return path


def test_encoder_losses(tmp_path):
    losses = {name: write_losses(tmp_path / f"{name}.csv", truthfulness=1, semantic=1) for name in BACKBONES}
    draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 2 * 2 * 4
    assert (tmp_path / "losses.png").stat().st_size > 5000
    write_losses(losses["right"], truthfulness=1)
    with pytest.raises(InputError, match=r"right\.csv: a row without a value"):
        draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    losses["right"].write_text("epoch,truthfulness\n0,1\n")
    with pytest.raises(InputError, match=r"right\.csv: no column layer"):
        draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    with pytest.raises(InputError, match="nothing given"):
        draw_encoder_losses({}, outputs(tmp_path, "losses"))
