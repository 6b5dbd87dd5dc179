"""Which edits make a session: those of one task as they come, or those of several tasks in equal shares, shuffled.

And which sessions make a shard, the part of a cell that one job edits.
"""

import math
import random
from collections.abc import Mapping, Sequence

from unike_lib.types import EditCase, InputError


def session_cases(tasks: Sequence[Sequence[EditCase]], k: int, edits: int | None, seed: int) -> list[EditCase]:
    """Return cases in the order of editing, so that each k of them are a session.

    One task: its first cases, in their order. Several (cross-task editing, UniKE 4.4): a session holds equally many
    cases of each, in an order of its own; so does a last partial session, and cases that are left over stay out.

    Args:
        tasks: the cases of each task.
        k: edits per session.
        edits: most edits in all; None: no limit.
        seed: of the order within sessions.

    Raises:
        InputError: k does not divide into equal shares.
    """
    if len(tasks) == 1:
        return list(tasks[0][:edits])
    share, rest = divmod(k, len(tasks))
    if rest:
        raise InputError(
            f"sessions of {k} edits: expected a multiple of {len(tasks)}, the number of tasks mixed in them"
        )
    limit = [] if edits is None else [edits // len(tasks)]
    most = min(*map(len, tasks), *limit)
    cases: list[EditCase] = []
    for number, start in enumerate(range(0, most, share)):
        session = [case for task in tasks for case in task[start : min(start + share, most)]]
        random.Random(f"cross-task {seed} {number}").shuffle(session)
        cases += session
    return cases


def shard_cases(
    cases: Mapping[int, Sequence[EditCase]], shard: int, shards: int
) -> tuple[dict[int, Sequence[EditCase]], int]:
    """Return the cases of one shard by K, and how many cases lie before them.

    Shards are runs of whole sessions of every K, as equal as can be, whatever the sessions per batch. Where shards are
    more than such runs, some are empty, but never the first.

    Args:
        cases: K -> all cases in the order of editing (`session_cases`).
        shard: which one, from 1.
        shards: how many there are.
    """
    block = math.lcm(*cases)
    blocks = -(-max(map(len, cases.values())) // block)
    first, end = (-(-blocks * number // shards) * block for number in (shard - 1, shard))
    return {k: every[first:end] for k, every in cases.items()}, first
