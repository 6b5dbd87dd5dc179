"""Images of a user's benchmark that are not there: all listed before any work, counted where records are left out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unike_lib.benchmark.mmedit import IMAGE_FIELDS, image_path, read_cases
from unike_lib.benchmark.shared_locality import LEFT_OUT, SHARED, left_out_sentence, shared_sentence
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.benchmark_config import BenchmarkConfig
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


def missing_of_case(case: EditCase, file: str, config: BenchmarkConfig) -> list[MissingImage]:
    """Return the images of an edit that are not there.

    Raises:
        InputError: a name leads out of the image folders, or means different files in two of them.
    """
    # Probes carry the images in the order of the fields: the edit's own, its rephrased one, the locality probe's.
    kinds = dict(zip(IMAGE_FIELDS, ("rel", "m_gen", "m_loc"), strict=True))
    found = {field: probe.query.image for field, kind in kinds.items() for probe in case.probes if probe.kind == kind}
    missing = []
    for field, name in found.items():
        path = image_path(config.image_roots, str(name))
        places = [root for root in config.image_roots if os.path.isfile(Path(root) / str(name))]
        if len(places) > 1:
            raise InputError(
                f"{file}: record {case.request.id}: field '{field}': {name!r} is below {' and '.join(places)}; "
                "benchmark.images and benchmark.rephrased_images must not hold different images of the same name"
            )
        if not places:
            missing.append(MissingImage(file, case.request.id, field, str(name), str(path)))
    return missing


def missing_images(config: BenchmarkConfig) -> list[MissingImage]:
    """Return every image of the benchmark's files and triplet sources that is not there, in their order.

    Raises:
        InputError: a file is missing or malformed.
    """
    return [
        image for file, cases in _files(config) for case in cases for image in missing_of_case(case, str(file), config)
    ]


def write_missing_images(config: BenchmarkConfig, out: Path) -> None:
    """Write the report of missing images, a row each; only the header if none is missing."""
    import pandas as pd

    columns = list(MissingImage.__dataclass_fields__)
    write_csv(out, pd.DataFrame([asdict(image) for image in missing_images(config)], columns=columns))


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
    """Say, a sentence a file, what of it is left out of the run, and why, and what it shares with other splits.

    Nothing is said of whole files that share nothing.
    """
    counts: Mapping[str, Mapping[str, Any]] = read_json(path)
    sentences = []
    for file, count in counts.items():
        if count["missing"]:
            reason = "because images are missing"
            sentences.append(f"Of the {count['records']} records of {file}, {count['missing']} are left out {reason}.")
        if count.get(LEFT_OUT):
            sentences.append(left_out_sentence(file, count["records"], count[LEFT_OUT]))
        if SHARED in count:
            sentences.append(shared_sentence(file, count["kept"], count[SHARED]))
    return [f"**{sentence}**" for sentence in sentences if sentence]


def _files(config: BenchmarkConfig) -> Iterator[tuple[Path, list[EditCase]]]:
    source = Path(str(config.annotations))
    for task in config.tasks:
        for name in (config.files[task].train, config.files[task].eval):
            yield source / name, read_cases(source / name, task)
    for extra in config.triplet_sources:
        yield Path(extra), read_triplet_source(Path(extra))
