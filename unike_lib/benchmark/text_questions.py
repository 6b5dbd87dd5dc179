"""Text-only questions from elsewhere, in place of a benchmark's own: each split asks its share of them."""

from pathlib import Path

from unike_lib.benchmark.dialect import read_records, require_none, text_problems, text_query
from unike_lib.types import InputError, Query

GENERAL = "general"
GENERAL_QUESTIONS = Path(__file__).with_name("general_questions.json")
# Which of every eight text-only questions a split asks, so that those of the evaluation are met nowhere else.
EIGHTHS = {"eval": (0, 2, 4, 6), "dev": (1, 5), "method": (3,)}
OTHER_EIGHTHS = (7,)


def questions_of_split(source: str, split: str) -> list[Query]:
    """Return the split's share of text-only questions; source and errors as in `read_text_questions`."""
    eighths = EIGHTHS.get(split, OTHER_EIGHTHS)
    return [query for i, query in enumerate(read_text_questions(source)) if i % 8 in eighths]


def read_text_questions(source: str) -> list[Query]:
    """Read text-only questions.

    Args:
        source: "general", the packaged set of plain facts; or a JSON file, a list of records with `loc` and `loc_ans`
            (MMEdit's own files are such). A question that a file asks twice counts once, so that splits share none.

    Raises:
        InputError: missing or malformed file, fewer than eight questions, or records without non-empty `loc` and
            `loc_ans`.
    """
    path = GENERAL_QUESTIONS if source == GENERAL else Path(source)
    records = read_records(path)
    require_none(path, [p for i, record in enumerate(records) for p in text_problems(record, i, ("loc", "loc_ans"))])
    questions: dict[str, Query] = {}
    for record in records:
        query = text_query(record["loc"].strip(), record["loc_ans"].strip())
        questions.setdefault(plain_text(query.prompt), query)
    if len(questions) < 8:
        raise InputError(f"{path}: expected at least 8 text-only questions, found {len(questions)}")
    return list(questions.values())


def plain_text(text: str) -> str:
    """Return a question as questions are compared: case, and blanks beyond one, make no difference."""
    return " ".join(text.split()).casefold()
