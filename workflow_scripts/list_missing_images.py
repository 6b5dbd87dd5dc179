"""List every image that a user's benchmark names and that is not there."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.missing import write_missing_images
    from unike_lib.config.benchmark import BenchmarkConfig

    write_missing_images(job.section("benchmark", BenchmarkConfig), job.outputs.csv, job.threads)
