"""A user's files, checked and split into pool, method, development and evaluation edits."""

import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from unike_lib.benchmark.cases import write_cases
from unike_lib.benchmark.leaks import check_leaks, edit_groups, edited_images, index_of, question_of, shares_evaluated
from unike_lib.benchmark.missing import MISSING, PICTURES, UNREADABLE, check_images, count_pictures, require_images
from unike_lib.benchmark.same_pictures import one_name_each
from unike_lib.benchmark.shared_edits import SHARED_EDITS, count_shared_edits, keep_unshared
from unike_lib.benchmark.shared_locality import LEFT_OUT, SHARED, count_shared, shared_sentence
from unike_lib.benchmark.triplet_sources import write_triplet_source
from unike_lib.benchmark.user_files import UserFile, numbered, read_source_file, read_user_file
from unike_lib.benchmark.versions import VERSION, version_of
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.io import write_checksums, write_json
from unike_lib.types import EditCase, InputError, Task

log = logging.getLogger(__name__)
SHARES = {"pool": 0.7, "method": 0.15, "dev": 0.15}
SPLITS = (*SHARES, "eval")
COUNTS_FILE, SOURCES_FILE = "counts.json", "pool_sources.jsonl"


def prepare_user_benchmark(folder: Path, config: BenchmarkConfig, seed: int, threads: int = 1) -> None:
    """Write {pool,method,dev,eval}_{task}.json into `folder` from a user's files, and counts.json.

    That says what is left out, and which version each file is.

    The training files are divided by what their records edit: those joined by a picture, rephrased ones included, or
    by a fact land in one split. What they share with the evaluation files is counted, and left out as `shared_edits`
    says (pictures) and `strict_locality` (locality probes): MMEdit's train files hold most locality probes of its
    evaluation, VLKEB's many of its facts. Questions of the triplet sources about a picture that any split but the pool
    edits are left out; with `missing: skip`, so are records whose images are missing or unreadable. Nothing is written
    before every record and image has been checked.

    Raises:
        InputError: a file is missing or malformed, images are missing, a split comes out empty, or splits leak.
    """
    train = {task: read_user_file(task, "train", config) for task in config.tasks if config.files[task].train}
    evaluated = {task: read_user_file(task, "eval", config) for task in config.tasks}
    sources = [read_source_file(name) for name in config.triplet_sources]
    files = [*train.values(), *evaluated.values(), *sources]
    for file in files:
        file.counts[VERSION] = version_of(file.path)
    _leave_out_missing(files, config, threads)
    renamed = one_name_each([case for file in files for case in file.cases], config.image_roots)
    for file in files:
        file.cases = list(map(renamed, file.cases))
    parts = _divide(train, evaluated, config, seed)
    splits = {split: [case for task in config.tasks for case in parts[split, task]] for split in SPLITS}
    _keep_new_questions(sources, splits, config)
    _require_splits(parts, config)
    splits["pool"] += [case for file in sources for case in file.cases]
    check_leaks(splits, locality=config.strict_locality, edits=config.shared_edits == "drop")
    _count_shared(list(evaluated.values()), splits)
    for split, task in itertools.product(SPLITS, config.tasks):
        of_task, name = (evaluated if split == "eval" else train).get(task), f"{split}_{task}"
        unnamed = of_task.unnamed if of_task else ()
        cases = [numbered(c, name, i) if c.request.id in unnamed else c for i, c in enumerate(parts[split, task])]
        write_cases(folder / f"{name}.json", split, task, cases)
    if sources:
        write_triplet_source(folder / SOURCES_FILE, [case for file in sources for case in file.cases])
    write_json(folder / COUNTS_FILE, {file.name: file.counts for file in files})
    write_checksums(folder, folder.glob("*.json"))


def _divide(
    train: dict[Task, UserFile], evaluated: dict[Task, UserFile], config: BenchmarkConfig, seed: int
) -> dict[tuple[str, Task], list[EditCase]]:
    """Return the cases of every split and task; training files keep only what the evaluation leaves them."""
    parts: dict[tuple[str, Task], list[EditCase]] = defaultdict(list)
    cases = [case for file in evaluated.values() for case in file.cases]
    learned = [case for file in train.values() for case in file.cases]
    for file in evaluated.values():
        file.counts[SHARED_EDITS] = count_shared_edits(file.cases, learned)
    keep_unshared(list(train.values()), cases, config.shared_edits)
    if config.strict_locality:
        _keep_strict(list(train.values()), cases)
    trained = [(task, case) for task, file in train.items() for case in file.cases]
    for (task, case), image in zip(trained, split_keys([case for _, case in trained]), strict=True):
        parts[split_of(image, seed), task].append(case)
    for task, file in evaluated.items():
        parts["eval", task] = file.cases
    return parts


def split_keys(cases: Sequence[EditCase]) -> list[str]:
    """Return for each case what its split is drawn by: the first edited image, by name, of its group."""
    groups, keys = edit_groups(cases), dict[int, str]()
    for group, case in zip(groups, cases, strict=True):
        keys[group] = min(keys.get(group, str(case.request.image)), str(case.request.image))
    return [keys[group] for group in groups]


def _keep_strict(files: Sequence[UserFile], evaluated: Sequence[EditCase]) -> None:
    """Leave out records that share a locality probe with evaluated edits."""
    index = index_of(evaluated)
    for file in files:
        file.keep([case for case in file.cases if not shares_evaluated(case, index)], LEFT_OUT)


def _count_shared(evaluated: Sequence[UserFile], splits: dict[str, list[EditCase]]) -> None:
    """Count, and log, what evaluation files share with the other splits."""
    others = {split: cases for split, cases in splits.items() if split != "eval"}
    shared = count_shared({file.name: file.cases for file in evaluated}, others)
    for file in evaluated:
        file.counts[SHARED] = shared[file.name]
        sentence = shared_sentence(file.name, len(file.cases), shared[file.name])
        if sentence:
            log.warning("%s", sentence)


def split_of(image: str, seed: int) -> str:
    """Draw a training record's split by an edited image, the same for all records that must land together."""
    draw = random.Random(f"{seed} {image}").random()
    for split, share in SHARES.items():
        if draw < share:
            return split
        draw -= share
    return split


def _leave_out_missing(files: Sequence[UserFile], config: BenchmarkConfig, threads: int) -> None:
    found = check_images(files, config, threads)
    if config.missing == "error":
        require_images(image for images in found for image in images)
    for file, images in zip(files, found, strict=True):
        for reason in (MISSING, UNREADABLE):
            gone = {image.record for image in images if image.reason == reason}
            if gone:
                file.keep([case for case in file.cases if case.request.id not in gone], reason)
        pictures = count_pictures(images, config.pictures)
        file.counts |= {PICTURES: pictures} if pictures else {}


def _keep_new_questions(
    sources: Sequence[UserFile], splits: dict[str, list[EditCase]], config: BenchmarkConfig
) -> None:
    """Leave out questions of triplet sources about pictures that are edited elsewhere, and those asked already."""
    taken = edited_images(case for split, cases in splits.items() if split != "pool" for case in cases)
    asked = {question_of(case.request.query) for case in splits["pool"]}
    for file in sources:
        file.keep([case for case in file.cases if case.request.image not in taken], "evaluated")
        fresh = []
        for case in file.cases:
            question = question_of(case.request.query)
            if question not in asked:
                fresh.append(case)
            asked.add(question)
        file.keep(fresh, "repeated")
    if config.strict_locality:
        _keep_strict(sources, splits["eval"])


def _require_splits(parts: dict[tuple[str, Task], list[EditCase]], config: BenchmarkConfig) -> None:
    wanted = "bring more records or images" + ", or set benchmark.strict_locality: false" * config.strict_locality
    for split in SPLITS:
        for task in config.tasks:
            if not parts[split, task] and (split == "eval" or config.files[task].train is not None):
                raise InputError(f"{config.annotations}: split '{split}' of task '{task}' is empty; {wanted}")
