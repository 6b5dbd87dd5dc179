"""The contact sheet: one cell per edit, every text on it, and a named error for a missing picture."""

import numpy as np
import pytest
from mmedit_records import write_stage
from PIL import Image

from unike_lib.embedded.world.contact_sheet import CELL_INCHES, CELLS_PER_ROW, DPI, draw_contact_sheet
from unike_lib.types import InputError

COLOURS = {"image": (200, 0, 0), "image_rephrase": (0, 200, 0), "m_loc": (0, 0, 200)}


def write(tmp_path, count):
    for field, colour in COLOURS.items():
        Image.new("RGB", (64, 32), colour).save(tmp_path / f"{field}.png")
    record = {
        field: f"what is {field} ?" for field in ("src", "rephrase", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a")
    }
    records = [record | {field: f"{field}.png" for field in COLOURS} for _ in range(count)]
    files = [tmp_path / f"eval_{task}.json" for task in ("vqa", "caption")]
    for file in files:
        write_stage(file, records)
    return files


def test_a_sheet_shows_the_three_pictures_of_every_edit(tmp_path):
    files = write(tmp_path, 3)
    draw_contact_sheet(files, tmp_path, tmp_path / "sheet.png")
    draw_contact_sheet(files, tmp_path, tmp_path / "again.png")
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    width, height = round(CELL_INCHES[0] * DPI), round(CELL_INCHES[1] * DPI)
    assert pixels.shape[:2] == (pytest.approx(2 * height, abs=2), pytest.approx(CELLS_PER_ROW * width, abs=2))
    for number in range(8):
        row, column = divmod(number, CELLS_PER_ROW)
        cell = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for colour in COLOURS.values():
            assert ((cell == colour).all(-1).mean() > 0.05) == (number < 6)


def test_a_missing_picture_is_named(tmp_path):
    files = write(tmp_path, 1)
    (tmp_path / "m_loc.png").unlink()
    with pytest.raises(InputError, match=r"m_loc\.png"):
        draw_contact_sheet(files, tmp_path, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
