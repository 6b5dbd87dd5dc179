"""VLKEB's JSON files: MMEdit's keys, and portability questions of one to four hops (`port_new`).

Reading: a fact is a question with its answer, which names the entity, whatever picture shows that: VLKEB asks 558 facts
of its training file about two pictures each, and 1,173 of its evaluation are in the training file, too.
"""

from unike_lib.benchmark.dialect import Dialect, Table
from unike_lib.benchmark.formats import mmedit
from unike_lib.benchmark.text_questions import plain_text
from unike_lib.types import EditRequest


def fact_of(request: EditRequest) -> str:
    """Return what an edit is about: its question and answer."""
    return plain_text(f"{request.prompt} {request.target}")


TABLE = Table(mmedit.ASKS, (mmedit.Ports(tuple(mmedit.HOPS)),), fact_of)
DIALECT = Dialect("vlkeb", TABLE, mmedit.DIALECT.pictures)
