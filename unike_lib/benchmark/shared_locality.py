"""How much of the evaluation's locality a user's files hold in other splits: counted, in a sentence per file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from unike_lib.benchmark.leaks import SHARING, Sharing, index_of, shared_by
from unike_lib.types import EditCase

SHARED, LEFT_OUT = "shared", "locality"  # keys of counts.json: of an evaluation file, of any other file
PHRASES: Mapping[Sharing, str] = {
    "t_loc": "the T-Loc. question (of the file itself) is also asked in",
    "m_loc": "the M-Loc. question, about the same picture, is also asked in",
    "edited": "the picture of the M-Loc. question is edited in",
    "probed": "the edited picture is that of an M-Loc. question in",
}
Counts = Mapping[str, Mapping[str, int]]


def count_shared(
    files: Mapping[str, Iterable[EditCase]], splits: Mapping[str, Sequence[EditCase]]
) -> dict[str, Counts]:
    """Count the evaluated edits that share their locality with other splits.

    Args:
        files: evaluation file -> its cases.
        splits: every other split -> its cases, triplet sources among them.

    Returns:
        file -> `Sharing` -> split -> number of the file's edits.
    """
    indexes = {split: index_of(cases) for split, cases in splits.items()}
    counts: dict[str, Counts] = {}
    for file, cases in files.items():
        found = Counter(
            (kind, split) for case in cases for split in indexes for kind in shared_by(case, indexes[split])
        )
        counts[file] = {kind: {split: found[kind, split] for split in indexes} for kind in SHARING}
    return counts


def shared_sentence(file: str, edits: int, shared: Counts) -> str:
    """Say what an evaluation file of so many edits shares with other splits; nothing where it shares nothing."""
    clauses = []
    for kind, phrase in PHRASES.items():
        numbers = [f"{split} ({count})" for split, count in shared[kind].items() if count]
        if numbers:
            clauses.append(f"{phrase} {', '.join(numbers)}")
    if not clauses:
        return ""
    return (
        f"The files themselves share locality probes between splits. Of the {edits} edits of {file} (in brackets: for "
        f"how many): {'; '.join(clauses)}. `benchmark.strict_locality: true` leaves such records out of these splits."
    )


def left_out_sentence(file: str, records: int, left_out: int) -> str:
    """Say how many of a file's records `strict_locality` leaves out."""
    return (
        f"Of the {records} records of {file}, {left_out} are left out because they share a locality probe with the "
        "evaluation (`benchmark.strict_locality`)."
    )
