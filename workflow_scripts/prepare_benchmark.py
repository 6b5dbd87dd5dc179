"""Check a user's MMEdit files and split them into pool, method, development and evaluation edits."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.prepare import prepare_user_benchmark
    from unike_lib.config.benchmark import BenchmarkConfig

    folder = job.outputs.checksums.parent
    prepare_user_benchmark(folder, job.section("benchmark", BenchmarkConfig), job.params.seed, job.threads)
