"""What a user's training files edit that his evaluation files edit, too: counted, in sentences, left out on request."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from unike_lib.benchmark.leaks import EDITS, edits_of
from unike_lib.benchmark.user_files import UserFile
from unike_lib.types import EditCase

SHARED_EDITS = "shared_edits"  # key of counts.json, of an evaluation file
# What records are left out for: its key of counts.json -> what it is called.
DROPPED: Mapping[str, str] = {"evaluated": "picture", "fact": "fact"}
Choice = Literal["keep", "drop_pictures", "drop"]


def count_shared_edits(evaluated: Sequence[EditCase], learned: Sequence[EditCase]) -> dict[str, int]:
    """Count the evaluated edits whose fact, and whose picture (own or rephrased), training records edit, too."""
    index = set().union(*map(edits_of, learned))
    shared = [{role for role, _ in edits_of(case) & index} for case in evaluated]
    return {role: sum(role in roles for roles in shared) for role in EDITS}


def keep_unshared(files: Sequence[UserFile], evaluated: Sequence[EditCase], choice: Choice) -> None:
    """Leave out training records that share a picture with evaluated edits, or also a fact, or none."""
    index = set().union(*map(edits_of, evaluated))
    roles = {"keep": (), "drop_pictures": ("edited",), "drop": ("edited", "fact")}[choice]
    for role, reason in (("edited", "evaluated"), ("fact", "fact")):
        if role in roles:
            taken = {trace for trace in index if trace[0] == role}
            for file in files:
                file.keep([case for case in file.cases if taken.isdisjoint(edits_of(case))], reason)


def shared_edits_sentence(file: str, edits: int, shared: Mapping[str, int]) -> str:
    """Say what an evaluation file of so many edits shares with the training files; nothing where it shares nothing."""
    named = {"fact": "the fact", "edited": "a picture"}
    clauses = [f"{named[role]} of {count}" for role, count in shared.items() if count]
    if not clauses:
        return ""
    return (
        f"The files themselves share edits: the training files edit {' and '.join(clauses)} of the {edits} edits of "
        f"{file}, too; `benchmark.shared_edits` says what of it is left out of training."
    )


def dropped_sentence(file: str, count: Mapping[str, Any]) -> str:
    """Say how many of a file's records are left out because other splits edit what they edit."""
    clauses = [f"{name} ({count[key]})" for key, name in DROPPED.items() if count.get(key)]
    if not clauses:
        return ""
    left_out = sum(count.get(key, 0) for key in DROPPED)
    return (
        f"Of the {count['records']} records of {file}, {left_out} are left out because the evaluation (for a triplet "
        f"source: any split but the pool) edits their {' or '.join(clauses)}, too."
    )
