"""Unrelated questions near an edit's, which it should leave as they are."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import image_path
from unike_lib.benchmark.text_questions import GENERAL, read_text_questions
from unike_lib.types import EditRequest, Query

UNRELATED = ("t_loc", "m_loc")  # probes of the benchmark whose answers must stay


def nearest_unrelated(
    request: EditRequest,
    files: Iterable[Path],
    roots: Sequence[Path],
    most: int,
    text_locality: str | None = None,
) -> list[Query]:
    """Return the locality questions nearest to a request's: `most` with a picture, then `most` without.

    Reading: near are questions that share words with the request's (Jaccard's index); of equally near ones the first.
    Those about the request's own picture are left out.

    Args:
        request: the edit.
        files: the benchmark's evaluation edits; none: plain facts, without pictures.
        roots: where its pictures lie; questions whose picture is not there are left out.
        most: how many of each.
        text_locality: where text-only questions come from, as in `BackboneConfig`.
    """
    cases = [case for path in files for case in read_cases(path, None, text_locality)]
    queries = [probe.query for case in cases for probe in case.probes if probe.kind in UNRELATED]
    if not queries:
        queries = read_text_questions(GENERAL)
    found: dict[tuple[str | None, str], Query] = {}
    for query in queries:
        own = query.prompt == request.prompt if query.image is None else query.image == request.image
        if not own:
            found.setdefault((query.image, query.prompt), query)
    ordered = sorted(found.values(), key=lambda query: -likeness(request.prompt, query.prompt))
    pictured = [query for query in ordered if query.image is not None]
    there = (query for query in pictured if image_path(roots, str(query.image)).is_file())
    return [*_first(there, most), *_first((query for query in ordered if query.image is None), most)]


def _first(queries: Iterable[Query], most: int) -> list[Query]:
    return [query for query, _ in zip(queries, range(most), strict=False)]


def likeness(one: str, other: str) -> float:
    """Return the share of the words of two texts that both have, 0 to 1; case and punctuation make no difference.

    Example:
        >>> likeness("What is this?", "what is that ?")
        0.5
    """
    words, others = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return len(words & others) / len(words | others) if words | others else 0.0
