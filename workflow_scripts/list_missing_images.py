"""List every image that a user's benchmark names and that is not there."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.missing import write_missing_images

    write_missing_images(config.benchmark, Path(snakemake.output[0]))
