"""The pictures of edit cases: their names, where they lie, and the one way in which they are opened.

A file says more than its pixels: how the camera was held, more than 8 bits, what shows through. The reading `faithful`
heeds it, `plain` is MMEdit's bare `convert("RGB")`. Of 8-bit RGB pictures without orientation both make the same.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from unike_lib.config.benchmark import PictureReading
from unike_lib.io import first_line
from unike_lib.types import EditCase, InputError

ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED, SCALED, LAID = "turned", "scaled", "laid"  # what `beside_pixels` finds


def image_names(cases: Iterable[EditCase]) -> list[str]:
    """Return the names of all images that the cases edit or ask about, sorted, each once."""
    cases = list(cases)
    asked = {probe.query.image for case in cases for probe in case.probes}
    return sorted(name for name in {*edited_images(cases), *asked} if name is not None)


def edited_images(cases: Iterable[EditCase]) -> list[str]:
    """Return the names of the images that the cases edit, sorted, each once."""
    edited = {request.image for case in cases for request in case.requests}
    return sorted(name for name in edited if name is not None)


def check_name(name: str) -> None:
    """Raise InputError if a text names no picture, but nothing or a folder: "", " ", ".", "a/..", "/"."""
    if PurePosixPath(name.strip()).name in ("", ".."):
        raise InputError(f"image {name!r}: no picture's name; expected a file's, below the image folder")


def image_path(roots: Sequence[str | Path], name: str) -> Path:
    """Return where an image lies: below the first of the image folders that has it, or where it is missed.

    Raises:
        InputError: the name leads out of an image folder, or can name no file.
    """
    check_name(name)
    paths = [_below(Path(root), name) for root in roots]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _below(root: Path, name: str) -> Path:
    try:
        path = root / name
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # Names too long, links in a circle, NUL characters.
        raise InputError(f"image {name!r}: cannot be the name of a file ({error})") from None
    if not inside:
        raise InputError(f"image {name!r}: leads out of the image folder {root}")
    return path


def load_image(roots: Sequence[str | Path], name: str, pictures: PictureReading = "faithful") -> Image.Image:
    """Open an image by its name as RGB; see `open_image`."""
    return open_image(image_path(roots, name), pictures)[0]


def open_image(path: Path, pictures: PictureReading = "faithful") -> tuple[Image.Image, tuple[str, ...]]:
    """Open an image as RGB; also return what the file says beside its pixels, as `beside_pixels` does.

    Its checksums are verified first where its format has them (PNG): decoding alone does not look at all of them.

    Raises:
        InputError: the file is missing or broken, or none of its values is a number; names it.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a folder, or a pipe, which would be waited for
        raise InputError(f"{path}: not a readable image (not a file)")
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
            check_finite(image)
            return (faithful if pictures == "faithful" else _plain)(image), beside_pixels(image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except Exception as error:  # Damaged bytes make Pillow's readers raise nearly anything.
        raise InputError(f"{path}: not a readable image ({first_line(error)})") from None


def check_finite(image: Image.Image) -> None:
    """Raise ValueError if a picture of floats shows nothing: all its values are infinite, or no numbers."""
    if image.mode == "F" and not np.isfinite(np.asarray(image)).any():
        raise ValueError("none of its values is a finite number")


def beside_pixels(image: Image.Image) -> tuple[str, ...]:
    """Say what of a picture `faithful` heeds and `plain` does not: "turned", "scaled", "laid" (on white)."""
    scaled = image.mode.split(";")[0] in ("I", "F")
    found = {TURNED: _orientation(image) in UPRIGHT, SCALED: scaled, LAID: image.has_transparency_data}
    return tuple(name for name, there in found.items() if there)


def faithful(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB, upright, scaled from more bits, transparency laid on white.

    Reading: a transparent pixel's own colour is what nobody sees; pages and viewers show white there.
    """
    turn = UPRIGHT.get(_orientation(image))
    see_through = image.has_transparency_data
    if image.mode.split(";")[0] in ("I", "F"):
        image, see_through = _scaled(image, image.info.get("transparency")), False
    if see_through:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none that can be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Damaged metadata beside sound pixels.
        return 1


def _scaled(image: Image.Image, transparent: int | None) -> Image.Image:
    """Return a picture of one channel of more than 8 bits as 8-bit grey; values that stand for "transparent" are white.

    Reading: integers within 16 bits have 65535 as white, floats within 0 to 1 have 1, floats within 0 to 255 have 255;
    others are spread from their least to their greatest value. Beside those, what is infinite or no number is black.
    """
    values = np.asarray(image).astype(np.float64)
    numbers = np.isfinite(values)
    low, high = float(values[numbers].min()), float(values[numbers].max())
    tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    if top is None:
        values, top = values - low, (high - low) or 1.0
    grey = np.rint(np.where(numbers, values, 0) * (255 / top)).astype(np.uint8)
    if isinstance(transparent, int):
        grey[np.asarray(image) == transparent] = 255
    return Image.fromarray(grey)
