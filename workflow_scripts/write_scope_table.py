"""Write which layers know a question again, of all backbones."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.knowledge.scope_table import write_scope_table

    files = zip(job.inputs.dev, job.inputs.eval, strict=True)
    write_scope_table(dict(zip(job.params.backbones, files, strict=True)), job.outputs.csv)
