"""Pictures are the same however records write their names: `a.jpg`, `./a.jpg`, links, another case on some disks."""

import os
import posixpath
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TypeVar

from unike_lib.benchmark.images import image_names
from unike_lib.types import EditCase, EditRequest, Query

Asked = TypeVar("Asked", Query, EditRequest)


def one_name_each(cases: Iterable[EditCase], roots: Sequence[str]) -> Callable[[EditCase], EditCase]:
    """Return what gives each picture of a case one name, of all by which these cases call it.

    Names of one file are one picture; where no file is, names that are equal once `.`, `..` and `//` are worked out.

    Args:
        cases: all that are compared with each other.
        roots: the image folders; a name leads to the first that has it.
    """

    @cache
    def file(name: str) -> tuple[int, int] | str:
        for root in roots:
            with suppress(OSError, ValueError):
                status = os.stat(os.path.join(root, name))
                return status.st_dev, status.st_ino
        return posixpath.normpath(name)

    first: dict[tuple[int, int] | str, str] = {}

    @cache
    def one_name(name: str) -> str:
        plain = posixpath.normpath(name)
        return first.setdefault(file(name), plain if file(plain) == file(name) else name)

    for name in image_names(cases):
        one_name(name)
    return lambda case: _renamed(case, one_name)


def _renamed(case: EditCase, one_name: Callable[[str], str]) -> EditCase:
    """Return a case with other names of its pictures, in the fact that a record without facts rests on, too."""

    def put(asked: Asked) -> Asked:
        return asked if asked.image is None else replace(asked, image=one_name(asked.image))

    request = put(case.request)
    own, now = (f"{each.image} {each.prompt}" for each in (case.request, request))
    return replace(
        case,
        request=request,
        then=tuple(map(put, case.then)),
        probes=tuple(replace(probe, query=put(probe.query)) for probe in case.probes),
        facts=tuple(now if fact == own else fact for fact in case.facts),
        shown=tuple((one_name(picture), entity) for picture, entity in case.shown),
    )
