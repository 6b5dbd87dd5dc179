"""Draw which layers know a question again."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.scope_figure import draw_scope

    draw_scope(job.inputs.table, job.outputs)
