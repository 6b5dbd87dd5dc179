"""What a user's benchmark looks like on the disk: its files, and the pictures that their records name."""

import os
from collections.abc import Iterator

from unike_lib.benchmark.dialect import find_dialect
from unike_lib.benchmark.images import image_names
from unike_lib.benchmark.user_files import read_user_files
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.file_state import state_of
from unike_lib.types import InputError


def state_of_benchmark(config: BenchmarkConfig) -> str:
    """Return a digest that changes with the files of a benchmark or with a picture that they name, and with no other.

    Of files that cannot be read, names, sizes and times alone count: the job that reads them says what is wrong. So it
    is with files that hold the pictures themselves: planning does not read them.
    """
    return state_of(_paths(config))


def _paths(config: BenchmarkConfig) -> Iterator[str]:
    for pair in config.files.values():
        yield from (os.path.join(str(config.annotations), name) for name in (pair.train, pair.eval) if name)
    yield from config.triplet_sources
    if find_dialect(config.format).holds_pictures:
        return
    try:
        names = image_names(case for file in read_user_files(config) for case in file.cases)
    except InputError:
        return
    yield from (f"{root}/{name}" for root in config.image_roots for name in names)
