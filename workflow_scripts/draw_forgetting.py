"""Draw what later edits of a session leave of earlier ones."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.forgetting import draw_forgetting

    draw_forgetting(job.inputs.records, job.outputs, job.params.methods, job.statistics)
