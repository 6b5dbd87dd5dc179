"""All problems of a configuration in one list: those of single settings, and those across sections beside them.

A wrong setting hides the checks that need it. So it is taken out, as if it had not been given, and the rest is checked
again; what would then be said of the gap itself is left out.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

SHOWN = 20  # problems in a message
FOUND = 60  # letters of a value in a message
NO_SETTING = "no setting has this name; docs/settings.md lists those that there are"
Place = tuple[Any, ...]
# What pydantic's kinds of errors mean, by the start of their names.
EXPECTED = {
    "missing": "a value",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "int_": "an integer",
    "float_": "a number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "string_type": "a text",
    "string_pattern_mismatch": "a text of the form {pattern}",
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    "too_short": "a list of at least {min_length}",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_"), "fields with values"),
}


class ProblemsError(ValueError):
    """Several problems at once, each "field: what was expected"."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def raise_problems(problems: Iterable[str]) -> None:
    """Raise ProblemsError if there are problems, each of them once."""
    found = tuple(dict.fromkeys(problems))
    if found:
        raise ProblemsError(found)


def problems_of(check: Callable[[], Any]) -> tuple[str, ...]:
    """Return the problems that a check raises: those of a ProblemsError, or the text of another ValueError."""
    try:
        check()
    except ProblemsError as error:
        return error.problems
    except ValueError as error:
        return (str(error),)
    return ()


def problem_list(problems: Sequence[str]) -> str:
    """Return problems as one line: the first ones, and how many more there are."""
    more = [f"and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN)
    return "; ".join([*problems[:SHOWN], *more])


def expected(error: Mapping[str, Any]) -> str:
    """Return what was expected where pydantic found an error, in our words; its own stand behind what has none."""
    kind, values = error["type"], error.get("ctx") or {}
    known = next((words for start, words in EXPECTED.items() if kind.startswith(start)), None)
    return known.format(**values) if known is not None else f"another value ({error['msg']})"


def no_switch(annotation: Any, value: Any) -> Any:
    """Return a field's value; true and false are no numbers, for which Python would take them.

    Raises:
        PydanticCustomError: it is one, or a list with one, where the annotation has numbers and no switch.
    """
    kinds, values = _kinds(annotation), value if isinstance(value, list | tuple) else [value]
    numbers = kinds & {int, float} if not kinds & {bool, Any} else set()
    if numbers and any(isinstance(each, bool) for each in values):
        raise PydanticCustomError("float_type" if float in numbers else "int_type", "a number")
    return value


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that an annotation is made of, and those of its literals' values."""
    if parts := get_args(annotation):
        return set[Any]().union(*map(_kinds, parts))
    return {annotation if annotation is Any or isinstance(annotation, type) else type(annotation)}


def field_problems(error: ValidationError, values: Any) -> list[str]:
    """Return what pydantic found in values, each "field: what was expected", in our words."""
    wanted, own = dict[Place, list[str]](), dict[Place, list[str]]()  # by field: what may stand there; whole sentences
    for each in error.errors():
        kind, context = each["type"], each.get("ctx") or {}
        # Behind the field, pydantic names the parts of its type.
        place = each["loc"] if kind == "missing" else _within(values, each["loc"])
        said = own.setdefault(place, [])
        if isinstance(context.get("error"), ProblemsError):
            said += context["error"].problems
        elif kind == "value_error":
            said.append(str(context["error"]))
        elif kind == "extra_forbidden":
            said.append(NO_SETTING)
        elif kind != "too_short" or len(each["input"]) < context["min_length"]:  # else an entry is said already
            entry = next(
                (f" as entry {part} of a list" for part in each["loc"][len(place) :] if isinstance(part, int)), ""
            )
            wanted.setdefault(place, []).append(expected(each) + entry)
    for place, texts in wanted.items():
        own[place].insert(0, f"expected {' or '.join(dict.fromkeys(texts))}, found {_found(values, place)}")
    problems = [(".".join(map(str, place)), text) for place, texts in own.items() for text in dict.fromkeys(texts)]
    return [" ".join((f"{field}: {text}" if field else text).splitlines()) for field, text in problems]


def _found(values: Any, place: Place) -> str:
    """Return what is at a place, or its start."""
    if _within(values, place) != place:
        return "nothing"
    for key in place:
        values = values[key]
    text = repr(values)
    return text if len(text) <= FOUND else f"{text[:FOUND]} ..."


def checked(validate: Callable[[Any], Any], values: Any, default: Any) -> tuple[Any, list[str], list[str]]:
    """Validate values, in rounds: what is wrong is taken out, until the rest is valid.

    Args:
        validate: returns the result; raises ValidationError.
        values: as YAML has them.
        default: values that stand in for wrong ones.

    Returns:
        The result, or None; all problems; the places that were taken out.
    """
    values, problems, gaps = copy.deepcopy(values), list[str](), list[str]()
    while True:
        try:
            return validate(values), problems, gaps
        except ValidationError as error:
            problems += apart_from_gaps(field_problems(error, values), gaps)
            places = {_within(values, each["loc"], Mapping) for each in error.errors()}
            places -= (mended := {place for place in places if _without_repetitions(values, place)})
            taken = [place for place in sorted(places, key=len, reverse=True) if _take(values, place, default)]
        if not taken and not mended:
            return None, problems, gaps
        gaps += [".".join(map(str, place)) for place in taken]


def apart_from_gaps(problems: Iterable[str], gaps: Sequence[str]) -> list[str]:
    """Return the problems that do not come from what was taken out."""
    return [problem for problem in problems if not any(_of_gap(problem, gap) for gap in gaps)]


def _of_gap(problem: str, gap: str) -> bool:
    """Whether a problem is one of a gap's own place, of a name that stood there, or of the section around it."""
    section, _, name = gap.rpartition(".")
    place, _, said = problem.partition(": ")
    named = f"unknown {section.removesuffix('s')} {name!r}" in problem
    return place == gap or place.startswith(f"{gap}.") or named or (place == section and name in said)


def _within(values: Any, place: Place, kinds: Any = (Mapping, Sequence)) -> Place:
    """Return the part of a place that is in the values, through these kinds of holders."""
    for index, key in enumerate(place):
        if not isinstance(values, kinds) or isinstance(values, str):
            return place[:index]
        if key not in values if isinstance(values, Mapping) else not isinstance(key, int) or key >= len(values):
            return place[:index]
        values = values[key]
    return place


def _without_repetitions(values: Any, place: Place) -> bool:
    """Leave each value of the list at a place once; return whether that changed it."""
    for key in place:
        values = values[key]
    once = [each for index, each in enumerate(values) if each not in values[:index]] if isinstance(values, list) else []
    changed = isinstance(values, list) and len(once) < len(values)
    if changed:
        values[:] = once
    return changed


def _take(values: Any, place: Place, default: Any) -> bool:
    """Take out what is at a place, for the default where it is another; return whether something changed."""
    if not place or _within(values, place) != place:
        return False
    *path, last = place
    for key in path:
        values = values[key]
    has = _within(default, place) == place
    for key in place if has else ():
        default = default[key]
    if has and repr(default) != repr(values[last]):
        values[last] = copy.deepcopy(default)
    else:
        del values[last]
    return True
