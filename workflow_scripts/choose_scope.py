"""Choose the layer that knows a question again, on development edits, and set thresholds on pool edits."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.knowledge.scope_choice import write_scope
    from unike_lib.knowledge.scope_states import SCOPE_KINDS, extract_scope_states, read_scope_states
    from unike_lib.knowledge.scope_table import write_development_rows

    inputs, outputs, params, questions = job.inputs, job.outputs, job.params, job.backbone.text_locality
    backbone = open_backbone(params.folder, job.backbone, inputs.visual)
    asked = {"pool": read_files(inputs.pool, questions, params.pool_edits)}
    extract_scope_states(backbone, asked, SCOPE_KINDS, outputs.pool, job.fingerprint, params.whole)
    asked = {"dev": read_files(inputs.dev, questions, params.dev_edits)}
    extract_scope_states(backbone, asked, SCOPE_KINDS, outputs.dev, job.fingerprint)
    pool, dev = read_scope_states(outputs.pool), read_scope_states(outputs.dev)
    write_scope(pool, dev, params.seed, outputs.scope, job.fingerprint)
    write_development_rows(pool, dev, outputs.scope, params.seed, outputs.csv)
