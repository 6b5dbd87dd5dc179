"""Check that a backbone's tokenizer can take the texts of a user's benchmark."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import load_tokenizer
    from unike_lib.backbones.texts import check_texts
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.benchmark.triplet_sources import read_triplet_source
    from unike_lib.io import write_json

    cases = {path.name: read_cases(path, None, job.backbone.text_locality) for path in job.inputs.cases}
    cases |= {path.name: read_triplet_source(path) for path in job.inputs.sources}
    write_json(job.outputs.counts, check_texts(load_tokenizer(job.params.folder), cases, str(job.params.folder)))
