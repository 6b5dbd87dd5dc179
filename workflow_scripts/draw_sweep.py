"""Draw a sweep: what becomes of a method when one field moves."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.figures import SweepConfig
    from unike_lib.reporting.figures import draw_sweep

    draw_sweep(job.inputs.records, job.outputs, job.section("sweep", SweepConfig), job.statistics)
