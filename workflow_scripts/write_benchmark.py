"""Draw the embedded benchmark and write it in MMEdit's format."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.world.benchmark import write_benchmark
    from unike_lib.config.benchmark import BenchmarkConfig

    write_benchmark(job.outputs.images.parent, job.section("benchmark", BenchmarkConfig), job.params.seed)
