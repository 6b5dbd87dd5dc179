"""Run the questions of a split's cases through the unedited backbone and keep what its layers make of them, by task."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.speed.state_cache import cache_states, cached_depths
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files

    settings = job.backbone
    backbone = open_backbone(job.params.folder, settings, job.inputs.visual)
    for path, out in zip(job.inputs.cases, job.outputs.states, strict=True):
        cases = read_files([path], settings.text_locality, job.params.edits)
        queries = [probe.query for case in cases for probe in case.probes]
        cache_states(backbone, queries, cached_depths(backbone, job.params.first_layers), out, job.fingerprint)
