"""Record the states of every layer at the last prompt token, for the questions of a split's edits."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.knowledge.scope_states import SCOPE_KINDS, extract_scope_states

    settings, params = job.backbone, job.params
    backbone = open_backbone(params.folder, settings, job.inputs.visual)
    cases = {job.wildcards.split: read_files(job.inputs.cases, settings.text_locality, params.edits)}
    extract_scope_states(backbone, cases, SCOPE_KINDS, job.outputs.states, job.fingerprint)
