"""Images of a user's benchmark that are not there: all listed before any work, counted where records are left out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unike_lib.benchmark.images import image_path
from unike_lib.benchmark.shared_edits import SHARED_EDITS, dropped_sentence, shared_edits_sentence
from unike_lib.benchmark.shared_locality import LEFT_OUT, SHARED, left_out_sentence, shared_sentence
from unike_lib.benchmark.user_files import read_user_files
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.io import read_json, write_csv
from unike_lib.types import EditCase, InputError

REPORT = "results/missing_images.csv"
SHOWN = 10


@dataclass(frozen=True)
class MissingImage:
    """An image that a record names and that is not there."""

    file: str
    record: str
    field: str
    image: str
    path: str


def missing_of_case(
    case: EditCase, file: str, config: BenchmarkConfig, pictures: Mapping[str, str]
) -> list[MissingImage]:
    """Return the images of an edit that are not there; `pictures` are the fields that name them, by probe kind.

    Raises:
        InputError: a name leads out of the image folders, or means different files in two of them.
    """
    queries = [(pictures.get(probe.kind, probe.kind), probe.query) for probe in case.probes]
    queries += [("then", request.query) for request in case.then]
    found = dict.fromkeys((field, query.image) for field, query in queries if query.image is not None)
    missing = []
    for field, name in found:
        path = image_path(config.image_roots, name)
        places = [root for root in config.image_roots if os.path.isfile(Path(root) / name)]
        if len(places) > 1:
            raise InputError(
                f"{file}: record {case.request.id}: field '{field}': {name!r} is below {' and '.join(places)}; "
                "benchmark.images and benchmark.rephrased_images must not hold different images of the same name"
            )
        if not places:
            missing.append(MissingImage(file, case.request.id, field, name, str(path)))
    return missing


def missing_images(config: BenchmarkConfig) -> list[MissingImage]:
    """Return every image of the benchmark's files and triplet sources that is not there, in their order.

    Raises:
        InputError: a file is missing or malformed.
    """
    return [
        image
        for file in read_user_files(config)
        for case in file.cases
        for image in missing_of_case(case, str(file.path), config, file.pictures)
    ]


def write_missing_images(config: BenchmarkConfig, out: Path) -> None:
    """Write the report of missing images, a row each; only the header if none is missing."""
    import pandas as pd

    write_csv(out, pd.DataFrame(missing_images(config), columns=list(MissingImage.__dataclass_fields__)))


def require_images(missing: Sequence[MissingImage]) -> None:
    """Raise one InputError that counts missing images by file and shows the first ten, if any is missing."""
    if missing:
        files = dict.fromkeys(image.file for image in missing)
        counts = ", ".join(f"{len({m.image for m in missing if m.file == file})} of {file}" for file in files)
        records: dict[str, str] = {}
        for image in missing:
            records.setdefault(image.path, image.record)
        shown = ", ".join(f"{path} (record {record})" for path, record in list(records.items())[:SHOWN])
        shown = " ".join(shown.split())  # names may hold line breaks
        raise InputError(
            f"images are missing: {counts}; the first: {shown}. All: make {REPORT}. "
            "To run on the records that have theirs, set benchmark.missing: skip"
        )


def counts_notes(path: Path) -> list[str]:
    """Say, a sentence per file, what of it is left out of the run, and why, and what it shares with other splits.

    Nothing is said of whole files that share nothing.
    """
    counts: Mapping[str, Mapping[str, Any]] = read_json(path)
    sentences = []
    for file, count in counts.items():
        if count["missing"]:
            reason = "because images are missing"
            sentences.append(f"Of the {count['records']} records of {file}, {count['missing']} are left out {reason}.")
        sentences.append(dropped_sentence(file, count))
        if SHARED_EDITS in count:
            sentences.append(shared_edits_sentence(file, count["kept"], count[SHARED_EDITS]))
        if count.get(LEFT_OUT):
            sentences.append(left_out_sentence(file, count["records"], count[LEFT_OUT]))
        if SHARED in count:
            sentences.append(shared_sentence(file, count["kept"], count[SHARED]))
    return [f"**{sentence}**" for sentence in sentences if sentence]
