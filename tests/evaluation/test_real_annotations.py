"""Real annotations with made pictures, from their file through every tier of locality to records and tables."""

import colorsys
import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tables_of_records import write_tables
from tiny_families import tiny_family

from unike_lib.backbones.visual import VisualStore, extract_visual
from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.benchmark.images import image_names, load_image
from unike_lib.benchmark.user_files import read_user_file
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.tiers import write_tiers
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.reporting.tier_notes import tiers_notes

HERE, SHARED = Path(__file__).parent, Path(__file__).parents[3] / "shared"
SETTINGS = EvaluationConfig(max_new_tokens=3, criteria=("token", "mmedit", "generated"))
FOUND = ("near_picture", "near_question", "no_picture")
# File, dialect, task, records, and how many probes of which tier have the target as their right answer: two edits name
# the same actor in two pictures; two ask about one picture, and no is the right answer to both.
REAL = {
    "VLKEB": (HERE / "vlkeb/eval_edit_onehop.json", "vlkeb_onehop", "vqa", slice(0, 6), {}),
    "E-VQA": (SHARED / "mmedit/vqa_eval.json", "mmedit", "vqa", slice(72, 76), {"near_question": 2}),
    "E-IC": (SHARED / "mmedit/caption_eval_edit.json", "mmedit", "caption", slice(0, 2), {}),
    "VLKEB, one edit": (SHARED / "formats/vlkeb/eval.first40.json", "vlkeb", "vqa", slice(1, 3), {}),
    "CCKEB": (HERE.parent / "benchmark/formats/samples/cckeb.json", "cckeb", "vqa", slice(0, 3), {}),
    "MMKE-Bench": (HERE.parent / "benchmark/formats/samples/mmke-bench.json", "mmke-bench", "vqa", slice(0, 2), {}),
}


@pytest.fixture(scope="module")
def tiny():
    return tiny_family("smolvlm")


def draw(root, records):
    """Make the pictures that records name: a colour per folder or, where all lie in one, per picture."""
    names = sorted({record[key] for record in records for key in ("image", "image_rephrase", "m_loc")})
    folders = sorted({str(Path(name).parent) for name in names})
    several = len(folders) > 2
    places = {name: folders.index(str(Path(name).parent)) if several else i for i, name in enumerate(names)}
    for number, name in enumerate(names):
        red, green, blue = colorsys.hsv_to_rgb(places[name] / len(names), 1.0, 0.9)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        colour = (int(255 * red), int(255 * green), int(200 * blue) + number)
        Image.new("RGB", (20, 20), colour).save(root / name, format="PNG")


def through_all_tiers(folder, tiny, name):
    """Do as the workflow's stages do, and return their files' content."""
    path, dialect, task, some, _ = REAL[name]
    records = json.loads(path.read_text())[some]
    (folder / "eval.json").write_text(json.dumps(records))
    draw(folder / "pictures", records)
    files = {task: {"train": "none.json", "eval": "eval.json"}}
    config = BenchmarkConfig(annotations=str(folder), images=str(folder / "pictures"), format=dialect, files=files)
    given, asked, counts = (folder / each for each in ("given.json", "asked.json", "tiny/eval.csv"))
    write_cases(given, "eval", task, read_user_file(task, "eval", config).cases)
    images, load = image_names(read_cases(given)), partial(load_image, [config.images])
    extract_visual(tiny.model, tiny.processor.image_processor, images, load, folder / "eval.safetensors", "x")
    seen = VisualStore(folder / "eval.safetensors")
    write_tiers([given], "eval", seen, None, [asked], counts)
    return records, read_cases(asked), pd.read_csv(counts).set_index("kind"), tiers_notes([counts])


@pytest.mark.parametrize("name", REAL)
def test_every_tier_is_asked_or_left_out_and_counted(tmp_path, tiny, name, monkeypatch):
    path, _, task, _, left_out = REAL[name]
    if not path.exists():
        pytest.skip("the annotations are not here")
    records, cases, counts, notes = through_all_tiers(tmp_path, tiny, name)
    assert counts["left_out"].to_dict() == dict.fromkeys((*FOUND, "identity"), 0) | left_out
    for kind in FOUND:
        asked = [case.query(kind) for case in cases if case.asks(kind)]
        assert len(asked) == counts.loc[kind, "asked"] == len(records) - left_out.get(kind, 0)
    for record, case in zip(records, cases, strict=True):
        if case.asks("near_picture"):
            assert case.query("near_picture").prompt == record["src"]
            assert case.query("near_picture").image not in (record["image"], record["image_rephrase"], record["m_loc"])
        assert case.query("no_picture").prompt == record["src"] and case.query("no_picture").image is None

    monkeypatch.setattr(tiny.backbone, "images", VisualStore(tmp_path / "eval.safetensors"))
    editor = FineTune(tiny.backbone, FineTuneMethod(method="fine-tune", steps=6, learning_rate=0.3))
    scores = run_edits(tiny.backbone, editor, {1: cases}, answer_before(tiny.backbone, cases, SETTINGS), SETTINGS)
    found = write_tables(tmp_path, {"ft": scores}, SETTINGS, task, notes=notes)
    of_kind = found.records.groupby("kind")
    assert (
        of_kind.size().to_dict()
        == pd.Series([probe.kind for case in cases for probe in case.probes]).value_counts().to_dict()
    )
    stay = found.records[found.records["kind"].isin([*FOUND, "t_loc", "m_loc"])]
    assert set(stay["generated"]) <= {0.0, 1.0} and set(found.records["status"]) == {"ok"}
    assert of_kind["token"].mean()["rel"] > 0
    for kind in FOUND:
        row = found.tables["generated"].loc[("ft", 1)]
        assert row[f"{kind}_edits"] == counts.loc[kind, "asked"]
        assert row[kind] == pytest.approx(100 * of_kind["generated"].mean()[kind], abs=1e-4)
    assert any(f"near_picture ({task}) {left_out.get('near_picture', 0)} and 0" in line for line in found.lines)
    row = found.tables["token"].loc[
        ("ft", 1)
    ]  # a column each, also where some records lack it; none that no record has
    if name == "CCKEB":
        assert [row[f"{kind}_edits"] for kind in ("comp", "text_rel", "text_gen")] == [3, 3, 3] and "m_rel" not in row
        both = found.records[found.records["kind"] == "comp"]
        assert both["target"].tolist() == [" ".join(record["textual_edit"]["alt"]) for record in records]
    if name == "MMKE-Bench":
        assert [row[f"{kind}_edits"] for kind in ("m_rel_gen_2", "portability")] == [2, 1] and "comp" not in row
    if name == "VLKEB":
        port = found.records[found.records["kind"] == "portability"]
        assert port["target"].tolist() == [record["port_new"][0]["port_a"] for record in records]
        assert found.tables["token"].loc[("ft", 1), "portability_edits"] == 6
