"""The pictures of edit cases: their names, where they lie, and how they are opened."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from unike_lib.types import EditCase, InputError


def image_names(cases: Iterable[EditCase]) -> list[str]:
    """Return the names of all images that the cases edit or ask about, sorted, each once."""
    cases = list(cases)
    edited = {request.image for case in cases for request in case.requests}
    names = edited | {probe.query.image for case in cases for probe in case.probes}
    return sorted(name for name in names if name is not None)


def image_path(roots: Sequence[str | Path], name: str) -> Path:
    """Return where an image lies: below the first of the image folders that has it, or where it is missed.

    Raises:
        InputError: the name leads out of an image folder, or can name no file.
    """
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


def load_image(roots: Sequence[str | Path], name: str) -> Image.Image:
    """Open an image as RGB; raise InputError, naming the file, if it is missing or broken.

    Its checksums are verified first where its format has them (PNG): decoding alone does not look at all of them.
    """
    path = image_path(roots, name)
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except Exception as error:  # Damaged bytes make Pillow's readers raise nearly anything.
        raise InputError(f"{path}: not a readable image ({error})") from None
