"""Draw what becomes of each edit as a whole, one stacked bar per method."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.joint_figure import draw_joint

    draw_joint(job.inputs.edits, job.outputs)
