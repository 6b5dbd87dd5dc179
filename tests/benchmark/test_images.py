"""Pictures are found below their folders and opened whole, or refused by name."""

import pytest
from PIL import Image

from unike_lib.benchmark.images import image_path, load_image
from unike_lib.types import InputError


def test_images_are_checked_before_use(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a0.png")
    (tmp_path / "b0.png").write_bytes(b"\x89PNG broken")
    assert load_image([tmp_path], "a0.png").size == (4, 4)
    for name, message in (("b0.png", "not a readable image"), ("c.png", "no such image"), ("../x.png", "leads out")):
        with pytest.raises(InputError, match=message):
            load_image([tmp_path], name)
    (tmp_path / "rephrased").mkdir()
    Image.new("RGB", (6, 6)).save(tmp_path / "rephrased" / "r.png")
    roots = [tmp_path, tmp_path / "rephrased"]
    assert load_image(roots, "r.png").size == (6, 6)
    assert image_path(roots, "absent.png") == tmp_path / "absent.png"
