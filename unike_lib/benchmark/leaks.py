"""Does a fact or a picture of one split appear in another? Checked for the embedded benchmark and for users' data."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from unike_lib.types import EditCase, InputError

LEAKS_SHOWN = 10


def find_leaks(splits: Mapping[str, Sequence[EditCase]]) -> list[str]:
    """Return what two splits share and must not, one line each.

    Checked are each edit's facts, its images (original and rephrased) and its question with image and answer. Images
    and questions of locality probes may recur: nothing is learned from them but that they do not change.

    Args:
        splits: split name -> its cases; the tasks of a split together.
    """
    seen: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for split, cases in splits.items():
        for case in cases:
            for trace in _traces(case):
                seen[trace].setdefault(split, case.request.id)
    leaks = []
    for (kind, value), places in seen.items():
        if len(places) > 1:
            where = ", ".join(f"{split} (record {record})" for split, record in sorted(places.items()))
            leaks.append(f"{kind} {value!r} is in {where}")
    return leaks


def _traces(case: EditCase) -> Iterator[tuple[str, str]]:
    for fact in case.facts:
        yield "fact", fact
    for probe in case.probes:
        if probe.kind in ("rel", "m_gen") and probe.query.image is not None:
            yield "image", probe.query.image


def check_leaks(splits: Mapping[str, Sequence[EditCase]]) -> None:
    """Raise InputError, with a count and the first ten leaks, if splits share a fact or an edited image."""
    leaks = find_leaks(splits)
    if leaks:
        raise InputError(f"benchmark: {len(leaks)} leaks between splits: " + "; ".join(leaks[:LEAKS_SHOWN]))
