"""Check a user's MMEdit files and split them into pool, method, development and evaluation edits."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.prepare import prepare_user_benchmark

    prepare_user_benchmark(Path(snakemake.output.cases[0]).parent, config.benchmark, config.seed)
