"""A benchmark in a form of its own: one JSONL file with both parts; which keys of a record hold which probe."""

from collections.abc import Iterator

from unike_lib.benchmark.dialect import Ask, Dialect, Source, Table, read_records
from unike_lib.types import EditCase

TABLE = Table(
    (
        Ask("rel", "question", "answer", "picture"),
        Ask("t_gen", "in other words", "answer", "picture"),
        Ask("m_gen", "question", "answer", "other picture"),
        Ask("t_loc", "text question", "text answer"),
        Ask("m_loc", "near question", "near answer", "near picture"),
    )
)


def read(source: Source) -> Iterator[EditCase]:
    """Yield the edits whose `use` is the part that is asked for: train or eval."""
    records = read_records(source.path)
    TABLE.check(source.path, records)
    for record in records:
        if record.get("use") == source.part:
            yield TABLE.case(record, source.task)


DIALECT = Dialect("cards", read, TABLE.pictures)
