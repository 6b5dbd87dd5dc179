"""What every dry run imports and looks up, done once in the process that forked_snakemake forks from."""

import gc
from importlib import import_module
from pathlib import Path

from snakemake import cli

# Those of Snakemake that it imports late; of the library, what the rules import (a planned copy takes its own).
SNAKEMAKE = ("api", "storage", "report", "script")
OTHERS = ("pandas", "jsonschema", "nbformat", "smart_open")
LIBRARY = ("code_digest", "config.run", "config.tables", "table_parts")

for name in (*(f"snakemake.{each}" for each in SNAKEMAKE), *OTHERS, *(f"unike_lib.{each}" for each in LIBRARY)):
    import_module(name)
cli.get_argument_parser()
for script in (Path(__file__).parents[1] / "workflow_scripts").glob("*.py"):
    import_module("unike_lib.code_digest").library_files(script)
# Nothing of this is garbage: no forked process needs to look through it.
gc.collect()
gc.freeze()
