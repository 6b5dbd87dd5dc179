"""Draw the embedded benchmark and write it in MMEdit's format."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.world.benchmark import write_benchmark

    write_benchmark(Path(snakemake.output.images).parent, config.benchmark, config.seed)
