"""Draw generality against locality of methods as they are (Fig. 2a)."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.figures import FiguresConfig
    from unike_lib.reporting.figures import draw_methods

    draw_methods(job.inputs.records, job.outputs, job.section("figures", FiguresConfig), job.statistics)
