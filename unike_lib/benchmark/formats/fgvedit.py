"""FGVEdit's JSON files: MMEdit's texts, and two further questions about the edit's own picture.

`fg_gen` asks for the edited fact from another side, `fg_loc` about something else in the picture, which must stay.

Reading: FGVEdit's code takes the edit's own picture as the rephrased one, and `fg_loc` as the M-Loc. question. There is
no other picture, so here nothing is asked of M-Gen. and M-Loc., and both questions have columns of their own. As in
that code, a record without a target (`alt` is "") is no edit.
"""

from collections.abc import Iterator

from unike_lib.benchmark.dialect import Ask, Dialect, Source, Table, read_records
from unike_lib.types import EditCase

TABLE = Table(
    (
        Ask("rel", "src", "alt", "image"),
        Ask("t_gen", "rephrase", "alt", "image"),
        Ask("t_loc", "loc", "loc_ans"),
        Ask("fg_gen", "fg_gen_q", "fg_gen_a", "image", "become"),
        Ask("fg_loc", "fg_loc_q", "fg_loc_a", "image", "stay"),
    )
)


def read(source: Source) -> Iterator[EditCase]:
    """Yield the cases of a file; raise InputError as `Table` does."""
    records = read_records(source.path)
    TABLE.check(source.path, [_checked(record) for record in records])
    for record in records:
        if record["alt"]:
            yield TABLE.case(record, source.task)


def _checked(record: object) -> object:
    """Return what is checked of a record: one without a target needs none."""
    return {**record, "alt": "-"} if isinstance(record, dict) and record.get("alt") == "" else record


DIALECT = Dialect("fgvedit", read, TABLE.pictures, frozenset(["m_gen", "m_loc"]))
