"""Write the edits of a user's benchmark whose texts a backbone's tokenizer can take."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.folder_config import first_look

    first_look(job.params.folder, job.backbone.family)  # before torch and transformers are imported
    from unike_lib.backbones.load import load_tokenizer
    from unike_lib.benchmark.texts import write_askable

    folder, files = job.outputs.counts.parent, [*job.inputs.cases, *job.inputs.sources]
    tokenizer, params = load_tokenizer(job.params.folder), job.params
    write_askable(tokenizer, files, folder, params.folder, job.backbone.text_locality, params.missing == "skip")
