"""Where a job's time goes. Put on the path as `sitecustomize`, so that Python runs it first in every process.

Each job of the workflow leaves a line of JSON in $JOB_CLOCK: seconds of imports, of reading and writing files, in all.
"""

import atexit
import builtins
import functools
import json
import os
import sys
import time

STARTED = time.perf_counter()
FILES = (
    "read_json",
    "write_json",
    "write_table",
    "read_table",
    "write_csv",
    "write_tensors",
    "read_tensors",
    "fingerprint_of",
)
seconds = {"imports": 0.0, "files": 0.0}
under_way: list[str] = []


def timed(kind, function):
    """Add the time of the outermost calls to `kind`; what is inside another kind counts there."""

    @functools.wraps(function)
    def wrapper(*arguments, **named):
        if under_way:
            return function(*arguments, **named)
        under_way.append(kind)
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[kind] += time.perf_counter() - began
            under_way.pop()

    return wrapper


def leave_line():
    if hasattr(sys.modules["__main__"], "snakemake"):
        job = sys.modules["__main__"].snakemake
        line = {"rule": job.rule, **seconds, "all": time.perf_counter() - STARTED}
        with open(os.path.join(os.environ["JOB_CLOCK"], f"{os.getpid()}.json"), "w", encoding="utf-8") as out:
            json.dump(line, out)


# Jobs alone: their script is a copy in .snakemake/scripts; Snakemake itself is started by -m.
if "JOB_CLOCK" in os.environ and sys.argv[0].endswith(".py"):
    builtins.__import__ = timed("imports", builtins.__import__)
    import unike_lib.io as files

    for name in FILES:
        setattr(files, name, timed("files", getattr(files, name)))
    atexit.register(leave_line)
