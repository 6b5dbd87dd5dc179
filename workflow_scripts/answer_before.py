"""Ask the unedited backbone every probe of a split, by task; all methods share these answers."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.evaluation.probes import answer_before

    settings = job.backbone
    backbone = open_backbone(job.params.folder, settings, job.inputs.visual, job.inputs.frozen)
    for path, out in zip(job.inputs.cases, job.outputs.answers, strict=True):
        cases = read_files([path], settings.text_locality, job.params.edits)
        answer_before(backbone, cases, job.evaluation).save(out, job.fingerprint)
