"""Pictures of a user's benchmark that are not there or cannot be read: all listed before any work, or left out.

Every picture that a record names is opened once, side by side, before anything is made of it.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from unike_lib.benchmark.dialect import PROBLEMS_SHOWN
from unike_lib.benchmark.images import LAID, SCALED, TURNED, image_path, open_image
from unike_lib.benchmark.shared_edits import SHARED_EDITS, dropped_sentence, shared_edits_sentence
from unike_lib.benchmark.shared_locality import LEFT_OUT, SHARED, left_out_sentence, shared_sentence
from unike_lib.benchmark.user_files import UserFile, read_user_files
from unike_lib.config.benchmark import BenchmarkConfig, PictureReading
from unike_lib.io import read_json, write_csv
from unike_lib.types import EditCase, InputError

log = logging.getLogger(__name__)
REPORT = "results/missing_images.csv"
SHOWN = 10
MISSING, UNREADABLE, PICTURES = "missing", "unreadable", "pictures"  # keys of counts.json
SAID = {TURNED: "an orientation", SCALED: "more than 8 bits", LAID: "transparency"}
HEEDED = {
    "faithful": "they are turned upright, scaled to 8 bits, laid on white",
    "plain": "this is left out, as in MMEdit's code",
}


@dataclass(frozen=True)
class NamedImage:
    """An image that a record names; `problem`: why it cannot be used, nothing if it can.

    beside: what its file says beside its pixels (`images.beside_pixels`), once it was opened.
    """

    file: str
    record: str
    field: str
    image: str
    path: str
    problem: str = ""
    beside: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The kind of its problem, by which records are left out: "missing", "unreadable", or nothing."""
        return self.problem and (MISSING if self.problem == MISSING else UNREADABLE)


def images_of_case(case: EditCase, file: str, config: BenchmarkConfig, pictures: Mapping[str, str]) -> list[NamedImage]:
    """Return the images of an edit, none opened yet; `pictures` are the fields that name them, by probe kind.

    Raises:
        InputError: a name leads out of the image folders, or means different files in two of them.
    """
    queries = [(pictures.get(probe.kind, probe.kind), probe.query) for probe in case.probes]
    queries += [("then", request.query) for request in case.then]
    found = dict.fromkeys((field, query.image) for field, query in queries if query.image is not None)
    named = []
    for field, name in found:
        try:
            path = image_path(config.image_roots, name)
        except InputError as error:
            raise InputError(f"{file}: record {case.request.id}: field '{field}': {error}") from None
        places = [root for root in config.image_roots if os.path.isfile(Path(root) / name)]
        if len({(status.st_dev, status.st_ino) for status in map(os.stat, (Path(root) / name for root in places))}) > 1:
            raise InputError(
                f"{file}: record {case.request.id}: field '{field}': {name!r} is below {' and '.join(places)}; "
                "benchmark.images and benchmark.rephrased_images must not hold different images of the same name"
            )
        named.append(NamedImage(file, case.request.id, field, name, str(path), "" if places else MISSING))
    return named


def open_all(paths: Iterable[str], pictures: PictureReading, threads: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Open pictures, each once, side by side; return, by path, why it cannot be read and what `open_image` found."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(threads) as pool:  # Pillow decodes outside Python's lock.
        opened = pool.map(partial(_opened, pictures=pictures), unique)
        return dict(zip(unique, tqdm(opened, desc="pictures", unit="picture", total=len(unique)), strict=True))


def _opened(path: str, pictures: PictureReading) -> tuple[str, tuple[str, ...]]:
    try:
        return "", open_image(Path(path), pictures)[1]
    except InputError as error:
        return str(error).removeprefix(f"{path}: "), ()


def check_images(files: Iterable[UserFile], config: BenchmarkConfig, threads: int = 1) -> list[list[NamedImage]]:
    """Return the images that each file names, all opened; log how they were read and what was met.

    Raises:
        InputError: as `images_of_case`, for the first twenty records at once.
    """
    named, problems = [], []
    for file in files:
        named.append(list[NamedImage]())
        for case in file.cases:
            try:
                named[-1] += images_of_case(case, file.name, config, file.pictures)
            except InputError as error:
                problems.append(str(error))
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise InputError("; ".join(problems[:PROBLEMS_SHOWN]) + more)
    there = (image.path for images in named for image in images if not image.problem)
    opened = open_all(there, config.pictures, threads)
    met = Counter(each for _, beside in opened.values() for each in beside)
    told = ", ".join(f"{met[each]} with {phrase}" for each, phrase in SAID.items())
    log.info("pictures: %s: %d opened: %s", config.pictures, len(opened), told)
    return [
        [image if image.problem else replace(image, problem=problem, beside=beside)
         for image in images for problem, beside in [opened.get(image.path, ("", ()))]]
        for images in named
    ]  # fmt: skip


def missing_images(config: BenchmarkConfig, threads: int = 1) -> list[NamedImage]:
    """Return every image of the benchmark's files and triplet sources that is not there, or unreadable, in their order.

    Raises:
        InputError: a file is missing or malformed.
    """
    found = check_images(read_user_files(config), config, threads)
    return [image for images in found for image in images if image.problem]


def write_missing_images(config: BenchmarkConfig, out: Path, threads: int = 1) -> None:
    """Write the report of images that are missing or unreadable, a row each; only the header if there is none."""
    import pandas as pd

    columns = ["file", "record", "field", "image", "path", "problem"]
    write_csv(out, pd.DataFrame(missing_images(config, threads), columns=[*NamedImage.__dataclass_fields__])[columns])


def count_pictures(images: Sequence[NamedImage], pictures: PictureReading) -> dict[str, Any]:
    """Count a file's pictures by what their files say beside their pixels; empty where none says anything."""
    beside = {image.path: image.beside for image in images if not image.problem}
    met = Counter(each for found in beside.values() for each in found)
    return {"reading": pictures, "opened": len(beside), **met} if met else {}


def require_images(images: Iterable[NamedImage]) -> None:
    """Raise one InputError that counts unusable images by file and shows the first ten, if there are any."""
    wrong = [image for image in images if image.problem]
    if wrong:
        counts = "; ".join(filter(None, (_counted(wrong, reason) for reason in (MISSING, UNREADABLE))))
        first: dict[str, NamedImage] = {}
        for image in wrong:
            first.setdefault(image.path, image)
        shown = ", ".join(f"{i.path} (record {i.record}: {i.problem})" for i in list(first.values())[:SHOWN])
        shown = " ".join(shown.split())  # names may hold line breaks
        raise InputError(
            f"benchmark: images cannot be used: {counts}; the first: {shown}. All: make {REPORT}. "
            "To run on the records that have theirs, set benchmark.missing: skip"
        )


def _counted(wrong: Sequence[NamedImage], reason: str) -> str:
    """Return "missing: 2 of train.json, 1 of eval.json"; nothing if no image has this reason."""
    of_file: dict[str, set[str]] = {}
    for image in wrong:
        if image.reason == reason:
            of_file.setdefault(image.file, set()).add(image.image)
    counts = ", ".join(f"{len(images)} of {file}" for file, images in of_file.items())
    return f"{reason}: {counts}" if counts else ""


def counts_notes(path: Path) -> list[str]:
    """Say, a sentence per file, what of it is left out of the run, and why, and what it shares with other splits.

    Nothing is said of whole files that share nothing.
    """
    counts: Mapping[str, Mapping[str, Any]] = read_json(path)
    sentences = []
    for file, count in counts.items():
        for reason, why in ((MISSING, "images are missing"), (UNREADABLE, "images cannot be read")):
            if count.get(reason):
                left_out = f"{count[reason]} are left out because {why}"
                sentences.append(f"Of the {count['records']} records of {file}, {left_out}.")
        if PICTURES in count:
            sentences.append(_pictures_sentence(file, count[PICTURES]))
        sentences.append(dropped_sentence(file, count))
        if SHARED_EDITS in count:
            sentences.append(shared_edits_sentence(file, count["kept"], count[SHARED_EDITS]))
        if count.get(LEFT_OUT):
            sentences.append(left_out_sentence(file, count["records"], count[LEFT_OUT]))
        if SHARED in count:
            sentences.append(shared_sentence(file, count["kept"], count[SHARED]))
    return [f"**{sentence}**" for sentence in sentences if sentence]


def _pictures_sentence(file: str, count: Mapping[str, Any]) -> str:
    """Say how many of a file's pictures say more than pixels, and what is made of it."""
    met = ", ".join(f"{count[each]} have {phrase}" for each, phrase in SAID.items() if each in count)
    reading = count["reading"]
    of_file = f"Of the {count['opened']} pictures that {file} names, {met}"
    return f"{of_file}: {HEEDED[reading]} (`benchmark.pictures: {reading}`)."
