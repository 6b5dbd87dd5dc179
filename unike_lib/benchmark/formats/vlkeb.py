"""VLKEB's JSON files: MMEdit's keys, and portability questions of one to four hops (`port_new`)."""

from unike_lib.benchmark.dialect import Dialect, Table
from unike_lib.benchmark.formats import mmedit

TABLE = Table(mmedit.ASKS, (mmedit.Ports(tuple(mmedit.HOPS)),))
DIALECT = Dialect("vlkeb", TABLE, mmedit.DIALECT.pictures)
