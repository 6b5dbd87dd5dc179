"""Search the questions of a split for those nearest to each edit, and add them to its cases as tiers of locality."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.evaluation.tiers import write_tiers

    inputs, outputs = job.inputs, job.outputs
    seen = VisualStore(*inputs.visual)
    write_tiers(inputs.cases, job.wildcards.split, seen, job.params.edits, outputs.cases, outputs.counts)
