"""Requests and questions as a person writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.benchmark.dialect import is_text
from unike_lib.characters import control_in, without_controls
from unike_lib.types import TASKS, EditRequest, InputError, Query, Task

FIELDS = {"id", "task", "image", "question", "answer"}
Asked = str | tuple[str, str | None] | Mapping[str, Any] | Query


@dataclass(frozen=True)
class Answer:
    """What a model says to a question before an edit and after it; `wanted`: what it should say after, if known."""

    question: str
    image: str | None
    before: str
    after: str
    wanted: str | None = None

    @property
    def changed(self) -> bool:
        """Whether the edit changed what is said."""
        return normalise_answer(self.before) != normalise_answer(self.after)

    @property
    def right(self) -> bool | None:
        """Whether the answer after the edit is the wanted one; None: none is wanted."""
        return None if self.wanted is None else normalise_answer(self.after) == normalise_answer(self.wanted)


def request_of(request: EditRequest | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> EditRequest:
    """Return a request from its fields.

    Raises:
        InputError: a field is unknown, missing, empty, or no text.
    """
    if isinstance(request, EditRequest):
        if fields:
            raise InputError(f"request: expected a request or its fields, found both ({', '.join(fields)})")
        _checked(request.query)
        return request
    values = {**(request or {}), **fields}
    if unknown := sorted(values.keys() - FIELDS):
        raise InputError(f"request: unknown field {unknown[0]!r}; expected {', '.join(sorted(FIELDS))}")
    for name in ("question", "answer"):
        if not is_text(values.get(name)):
            expected = without_controls(values.get(name), "a text")
            raise InputError(f"request: field {name!r}: expected {expected}, found {values.get(name)!r}")
    task: Task = values.get("task", "vqa")
    if task not in TASKS:
        raise InputError(f"request: field 'task': expected one of {', '.join(TASKS)}, found {task!r}")
    question, answer = values["question"].strip(), values["answer"].strip()
    return EditRequest(str(values.get("id", "edit")), task, _name(values.get("image")), question, answer)


def _name(image: Any) -> str | None:
    return None if image is None else str(image)


def query_of(asked: Asked, like: EditRequest) -> Query:
    """Return a question: a text (without a picture), (text, picture), or fields; asked in the edit's own style."""
    if isinstance(asked, Query):
        return _checked(asked)
    if isinstance(asked, str):
        asked = (asked, None)
    if isinstance(asked, Mapping):
        question, image, wanted = asked.get("question"), asked.get("image"), asked.get("answer")
    else:
        (question, image), wanted = asked, None
    if not isinstance(question, str) or not is_text(question):
        raise InputError(f"question: expected {without_controls(question, 'a text')}, found {question!r}")
    return _checked(replace(like.query, image=_name(image), prompt=question.strip(), answer=wanted))


def _checked(query: Query) -> Query:
    """Return a question; raise InputError if a text of it has characters that none may have."""
    for text in (query.prompt, query.answer):
        if control_in(text) is not None:
            raise InputError(f"question: expected {without_controls(text)}, found {text!r}")
    return query
