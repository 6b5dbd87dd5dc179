"""Pictures of every kind are read as their files say, or plainly; unusable ones are in one list before any work."""

import json
import logging
import os

import numpy as np
import pandas as pd
import pytest
from mmedit_records import record
from PIL import Image, ImageOps

from unike_lib.benchmark.images import load_image, open_image
from unike_lib.benchmark.missing import counts_notes, write_missing_images
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.config.benchmark import MMEDIT_FILES, BenchmarkConfig
from unike_lib.types import InputError

CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]], [[7, 8, 9], [1, 2, 3]]], dtype=np.uint8)
# Orientation -> how the stored rows and columns become those that are shown, in words of the EXIF standard.
SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),  # row 0 is the right-hand side
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],  # row 0 is the left-hand side
}


def both(path):
    """The pixels by both readings, and what the file says beside them."""
    (faithful, beside), (plain, same) = (open_image(path, reading) for reading in ("faithful", "plain"))
    assert beside == same and faithful.mode == plain.mode == "RGB"
    return np.asarray(faithful), np.asarray(plain), beside


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_orientation_is_applied(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(CORNERS).save(path, exif=exif, **({"quality": 100, "subsampling": 0} if ending == "jpg" else {}))
    faithful, plain, beside = both(path)
    assert beside == (() if orientation == 1 else ("turned",))
    assert (faithful == SHOWN[orientation](plain)).all() and plain.shape == CORNERS.shape
    with Image.open(path) as image:
        assert (faithful == np.asarray(ImageOps.exif_transpose(image).convert("RGB"))).all()


@pytest.mark.parametrize(
    ("values", "ending", "grey"),
    [
        (np.array([[0, 257, 25700, 65535]], dtype=np.uint16), "png", [0, 1, 100, 255]),
        (np.array([[0, 257, 25700, 65535]], dtype=np.uint16), "tiff", [0, 1, 100, 255]),
        (np.array([[0, 25700, 65535]], dtype=np.int32), "tiff", [0, 100, 255]),
        (np.array([[-100, -20, 100]], dtype=np.int32), "tiff", [0, 102, 255]),
        (np.array([[0, 0.2, 1, np.nan]], dtype=np.float32), "tiff", [0, 51, 255, 0]),
        (np.array([[0, 51, 255]], dtype=np.float32), "tiff", [0, 51, 255]),
        (np.array([[0, 200, 1000]], dtype=np.float32), "tiff", [0, 51, 255]),
        (np.full((1, 3), 7e9, dtype=np.float32), "tiff", [0, 0, 0]),
    ],
)
def test_more_than_8_bits_are_scaled(tmp_path, values, ending, grey):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(values).save(path)
    faithful, _, beside = both(path)
    assert faithful[0].tolist() == [[each] * 3 for each in grey] and beside == ("scaled",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reading", ["faithful", "plain"])
def test_floats_of_which_none_is_finite_show_nothing(tmp_path, value, reading):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.full((2, 3), value, dtype=np.float32)).save(path)
    with pytest.raises(InputError) as error:
        open_image(path, reading)
    assert str(error.value) == f"{path}: not a readable image (none of its values is a finite number)"


def test_beside_finite_floats_others_are_black_and_do_not_count(tmp_path):
    """300, 340, 500 are spread over 0 to 255, whatever stands beside them."""
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[np.nan, 300, np.inf, 340, -np.inf, 500]], dtype=np.float32)).save(path)
    assert both(path)[0][0, :, 0].tolist() == [0, 0, 0, 51, 0, 255]


def test_transparency_is_laid_on_white(tmp_path):
    """Half of 100 and half of 255 is 178; what nobody sees is white; a palette and a colour may be transparent, too."""
    alpha = np.array([[[100, 0, 0, 255], [100, 0, 0, 0], [100, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(alpha).save(tmp_path / "rgba.png")
    Image.fromarray(alpha).convert("LA").save(tmp_path / "la.png")
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=1)
    Image.fromarray(CORNERS).save(tmp_path / "rgb.png", transparency=(255, 0, 0))
    Image.fromarray(np.array([[5, 9]], dtype=np.uint8)).save(tmp_path / "l.gif", transparency=1)
    Image.fromarray(np.array([[257, 514]], dtype=np.uint16)).save(tmp_path / "deep.png", transparency=514)
    faithful, plain, beside = both(tmp_path / "rgba.png")
    assert beside == ("laid",) and plain[0].tolist() == [[100, 0, 0]] * 3
    assert np.abs(faithful[0].astype(int) - [[100, 0, 0], [255] * 3, [177, 127, 127]]).max() <= 1
    assert both(tmp_path / "la.png")[0][0, 1].tolist() == [255] * 3
    assert both(tmp_path / "p.png")[0][0].tolist() == [[10, 20, 30], [255] * 3]
    assert both(tmp_path / "rgb.png")[0][0].tolist() == [[255] * 3, [0, 255, 0]]
    faithful, _, beside = both(tmp_path / "deep.png")
    assert faithful[0].tolist() == [[1] * 3, [255] * 3] and set(beside) == {"scaled", "laid"}


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_plain_8_bit_pictures_are_the_same_by_both_readings(tmp_path, ending):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (9, 8, 3), dtype=np.uint8)).save(tmp_path / f"a.{ending}")
    faithful, plain, beside = both(tmp_path / f"a.{ending}")
    assert (faithful == plain).all() and beside == ()


def test_palettes_cmyk_grey_and_black_and_white_work(tmp_path):
    picture = Image.fromarray(CORNERS)
    for mode, ending in (("P", "png"), ("CMYK", "jpg"), ("CMYK", "tiff"), ("L", "jpg"), ("1", "png")):
        picture.convert(mode).save(tmp_path / f"{mode}.{ending}")
        faithful, plain, beside = both(tmp_path / f"{mode}.{ending}")
        assert (faithful == plain).all() and faithful.shape == CORNERS.shape and beside == ()
    assert (both(tmp_path / "CMYK.tiff")[0] == CORNERS).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_metadata_beside_sound_pixels_is_no_damaged_picture(tmp_path):
    Image.fromarray(CORNERS).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_image([tmp_path], "a.jpg").size == (2, 3)


@pytest.fixture
def spoiled(tmp_path):
    """A benchmark of 40 records per file of which five pictures are gone or spoiled, and some say more than pixels."""
    images = tmp_path / "images"
    images.mkdir()
    number = 0
    for pair in MMEDIT_FILES.values():
        for name in (pair.train, pair.eval):
            (tmp_path / name).write_text(
                json.dumps([record(number + i, m_loc=f"c{number + i}.jpg") for i in range(40)])
            )
            for i in range(number, number + 40):
                for each in (f"a{i}.png", f"b{i}.png", f"c{i}.jpg"):
                    Image.new("RGB", (8, 8), (i, 0, 0)).save(images / each)
            number += 40
    Image.effect_noise((64, 64), 90).save(images / "c1.jpg")
    (images / "c1.jpg").write_bytes((images / "c1.jpg").read_bytes()[:900])  # half a file
    (images / "a41.png").write_bytes(b"")
    (images / "b42.png").write_text("<html>not found</html>")
    (images / "c42.jpg").unlink()
    (images / "a43.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(images / "c44.jpg", exif=exif)
    Image.new("RGBA", (8, 4)).save(images / "a45.png")
    return tmp_path


UNUSABLE = {
    ("vqa_train.json", "vqa_train-1", "m_loc", "c1.jpg"): "not a readable image",
    ("vqa_eval.json", "vqa_eval-1", "image", "a41.png"): "not a readable image",
    ("vqa_eval.json", "vqa_eval-2", "image_rephrase", "b42.png"): "not a readable image",
    ("vqa_eval.json", "vqa_eval-2", "m_loc", "c42.jpg"): "missing",
    ("vqa_eval.json", "vqa_eval-3", "image", "a43.png"): "missing",
}


def config_of(folder, **settings):
    return BenchmarkConfig(annotations=str(folder), images=str(folder / "images"), **settings)


def test_missing_and_unreadable_pictures_are_in_one_list(spoiled):
    write_missing_images(config_of(spoiled), spoiled / "list.csv", threads=2)
    table = pd.read_csv(spoiled / "list.csv")
    found = {(row.file.split("/")[-1], row.record, row.field, row.image): row.problem for row in table.itertuples()}
    assert found.keys() == UNUSABLE.keys() and len(table) == len(UNUSABLE)
    assert all(found[key].startswith(problem) for key, problem in UNUSABLE.items())
    message = (
        r"missing: 2 of vqa_eval\.json; unreadable: 1 of vqa_train\.json, 2 of vqa_eval\.json; the first: .*c1\.jpg"
    )
    with pytest.raises(InputError, match=message) as caught:
        prepare_user_benchmark(spoiled / "out", config_of(spoiled), seed=0, threads=2)
    assert not (spoiled / "out").exists() and "\n" not in str(caught.value)
    assert all(name in str(caught.value) for *_, name in UNUSABLE)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_no_picture_and_nothing_is_waited_for(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: not a readable image \(not a file\)$"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("reading", ["faithful", "plain"])
def test_skip_leaves_out_both_kinds_and_says_so(spoiled, reading, caplog):
    with caplog.at_level(logging.INFO):
        prepare_user_benchmark(spoiled / "out", config_of(spoiled, missing="skip", pictures=reading), seed=0, threads=2)
    counts = json.loads((spoiled / "out" / "counts.json").read_text())["vqa_eval.json"]
    assert (counts["records"], counts["missing"], counts["unreadable"], counts["kept"]) == (40, 2, 1, 37)
    assert counts["pictures"] == {"reading": reading, "opened": 116, "turned": 1, "laid": 1}
    assert (
        caplog.text.count(f"pictures: {reading}: 478 opened: 1 with an orientation, 0 with more than 8 bits, 1 with")
        == 1
    )
    notes = "\n".join(counts_notes(spoiled / "out" / "counts.json"))
    assert "Of the 40 records of vqa_train.json, 1 are left out because images cannot be read." in notes
    assert "Of the 40 records of vqa_eval.json, 2 are left out because images are missing." in notes
    said = {"faithful": "turned upright, scaled to 8 bits, laid on white", "plain": "left out, as in MMEdit's code"}
    assert "Of the 116 pictures that vqa_eval.json names, 1 have an orientation, 1 have transparency: " in notes
    assert said[reading] in notes and notes.count("benchmark.pictures") == 1
