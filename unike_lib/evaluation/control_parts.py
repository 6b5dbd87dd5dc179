"""Two parts of the development edits for the positive control: one chooses layers, the other gives the verdict."""

from collections.abc import Mapping, Sequence

from unike_lib.probe_kinds import REACHED
from unike_lib.types import EditCase, InputError

VERDICT = "verdict"  # the tests of the edited layers, which decide
SCAN = "scan"  # windows of layers, and layers from which on a context is seen: what `layers` is chosen by
FEWEST = 2  # edits of a part: each needs another one's fact beside its own


def parts_of(cases: Sequence[EditCase], most: Mapping[str, int]) -> dict[str, list[EditCase]]:
    """Return the cases of each part: no fact and no picture of one part is in another.

    Each case, in turns of the tasks, goes to the part that has its facts and pictures. If none has, it goes to a part
    with fewer than FEWEST cases, or to the one that is the emptiest, in proportion, of the case's task. A case between
    two parts, or of a full part, is left out.

    Args:
        cases: of all tasks, each task in its order.
        most: part -> most cases of each task.

    Raises:
        InputError: a part with fewer than FEWEST cases.
    """
    parts: dict[str, list[EditCase]] = {name: [] for name in most}
    owner: dict[str, str] = {}
    for case in _in_turns(cases):
        used, task = _used(case), case.request.task
        free = {name: 1 - sum(each.request.task == task for each in parts[name]) / most[name] for name in most}
        wanted = max(most, key=lambda name: (len(parts[name]) < FEWEST, free[name]))
        found = {owner[item] for item in used if item in owner} or {wanted}
        if len(found) > 1 or free[name := found.pop()] <= 0:
            continue
        parts[name].append(case)
        owner |= dict.fromkeys(used, name)
    for name, part in parts.items():
        if len(part) < FEWEST:
            raise InputError(
                f"positive_control: part {name!r} has {len(part)} of {len(cases)} development edits, expected {FEWEST} "
                "or more that share no fact and no picture with the other part: the benchmark needs more of them"
            )
    return parts


def _in_turns(cases: Sequence[EditCase]) -> list[EditCase]:
    """Return the first case of each task, then the second of each, and so on."""
    tasks = [case.request.task for case in cases]
    rank = [tasks[:row].count(task) for row, task in enumerate(tasks)]
    return [cases[row] for row in sorted(range(len(cases)), key=lambda row: rank[row])]


def _used(case: EditCase) -> set[str]:
    """Return the facts and pictures of a case: those of its request and of the questions that the edit must reach."""
    pictures = {probe.query.image for probe in case.probes if probe.kind in REACHED}
    return {f"fact {name}" for name in case.facts} | {f"picture {name}" for name in {case.request.image, *pictures}}
