"""Draw some evaluation edits with their pictures and questions."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.world.contact_sheet import draw_contact_sheet

    draw_contact_sheet(job.inputs.cases, job.inputs.images.parent, job.outputs.png)
