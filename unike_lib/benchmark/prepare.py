"""A user's MMEdit files, checked and split into pool, method, development and evaluation edits."""

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unike_lib.benchmark.leaks import check_leaks
from unike_lib.benchmark.mmedit import read_cases, require_images
from unike_lib.config import BenchmarkConfig
from unike_lib.io import read_json, write_checksums, write_json
from unike_lib.types import EditCase, InputError, Task

log = logging.getLogger(__name__)
TRAIN_FILES: dict[Task, str] = {"vqa": "vqa_train.json", "caption": "caption_train_edit.json"}
EVAL_FILES: dict[Task, str] = {"vqa": "vqa_eval.json", "caption": "caption_eval_edit.json"}
SHARES = {"pool": 0.7, "method": 0.15, "dev": 0.15}
DROPPED_SHOWN = 5


def prepare_user_benchmark(folder: Path, config: BenchmarkConfig, seed: int) -> None:
    """Write {pool,method,dev,eval}_{vqa,caption}.json into `folder` from a user's MMEdit files.

    The training files are divided by image, so that no picture is in two splits, and training records whose picture
    is also edited in the evaluation files are dropped (counted in the log). Nothing is written before every record
    and image has been checked.

    Raises:
        InputError: a file is missing or malformed, images are missing, a split comes out empty, or splits leak.
    """
    if config.annotations is None or config.images is None:
        raise InputError("benchmark.annotations, benchmark.images: name both folders, or neither")
    source, parts = Path(config.annotations), {}
    evaluated: set[str] = set()
    for task, name in EVAL_FILES.items():
        parts["eval", task] = _load(source / name, task, config.images)
        evaluated |= {image for case, _ in parts["eval", task] for image in _edited_images(case)}
    for task, name in TRAIN_FILES.items():
        pairs = _load(source / name, task, config.images)
        kept = [pair for pair in pairs if evaluated.isdisjoint(_edited_images(pair[0]))]
        log.info("%s: %d of %d records dropped: their image is evaluated", name, len(pairs) - len(kept), len(pairs))
        for index, (case, _) in enumerate(kept):
            parts[_split_of(case, seed), task] = [*parts.get((_split_of(case, seed), task), []), kept[index]]
    splits = {split: [case for task in TRAIN_FILES for case, _ in parts.get((split, task), [])] for split in SHARES}
    splits["eval"] = [case for task in EVAL_FILES for case, _ in parts["eval", task]]
    for split in splits:
        for task in TRAIN_FILES:
            if not parts.get((split, task)):
                raise InputError(f"{source}: split '{split}' of task '{task}' is empty; bring more records or images")
    check_leaks(splits)
    for (split, task), pairs in parts.items():
        write_json(folder / f"{split}_{task}.json", [record for _, record in pairs])
    write_checksums(folder, folder.glob("*.json"))


def _load(path: Path, task: Task, images: str) -> list[tuple[EditCase, dict[str, Any]]]:
    cases = read_cases(path, task)
    require_images(cases, images, str(path))
    return list(zip(cases, read_json(path), strict=True))


def _edited_images(case: EditCase) -> Sequence[str]:
    return [str(probe.query.image) for probe in case.probes if probe.kind in ("rel", "m_gen")]


def _split_of(case: EditCase, seed: int) -> str:
    """Draw the split by the edited image, so all records of a picture land together."""
    draw = random.Random(f"{seed} {case.request.image}").random()
    for split, share in SHARES.items():
        if draw < share:
            return split
        draw -= share
    return split
