"""Draw what many edits in one session cost the rest."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.retention import draw_retention

    draw_retention(job.inputs.records, job.outputs, job.params.methods, job.statistics)
