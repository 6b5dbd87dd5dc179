"""Record inputs of the edited layers' FFNs over the pool, for the memory losses."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.knowledge.extraction import extract_ffn_inputs

    settings = job.backbone
    backbone = open_backbone(job.params.folder, settings, job.inputs.visual)
    cases = read_files(job.inputs.cases, settings.text_locality)
    extract_ffn_inputs(backbone, cases, job.params.memory_states, job.outputs.states, job.fingerprint)
