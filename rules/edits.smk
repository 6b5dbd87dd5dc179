# Editing and scoring: answers before any edit, records of every method, the frontier's sweep, the search on dev edits.


def knowledge_of_method(wildcards):
    """What the method variant needs besides the backbone: encoders and memory (UniKE), FFN inputs (memory losses)."""
    method = resolve_method(CONFIG.methods, wildcards.method).method
    names = {
        "t-patcher": ["ffn_inputs.parquet"],
        "unike": ["ffn_inputs.parquet", "encoders.safetensors", "memory.safetensors"],
    }.get(method, [])
    return {
        name.split(".")[0]: f"{STAGES}/knowledge/{wildcards.backbone}/{name}"
        for name in names
    }


def edits_of_split(wildcards):
    """How many edits of the split are made; None: all."""
    return CONFIG.tuning.edits if wildcards.split == "dev" else CONFIG.evaluation.edits


rule base_answers:
    input:
        cases=f"{BENCHMARK}/{{split}}_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
        backbone=backbone_files,
        code=lib("answer_before"),
    output:
        f"{STAGES}/base/{{backbone}}/{{split}}_{{task}}.parquet",
    log:
        "logs/base_answers/{backbone}/{split}_{task}.log",
    benchmark:
        f"{STAGES}/benchmarks/base_answers/{{backbone}}/{{split}}_{{task}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
        gpu=gpus,
    params:
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        backbone=backbone_fields("family", "dtype", "vqa_prompt"),
        edits=edits_of_split,
        generation=CONFIG.evaluation.model_dump(
            mode="json", include={"generate", "max_new_tokens"}
        ),
    script:
        "../workflow_scripts/answer_before.py"


rule records:
    input:
        unpack(knowledge_of_method),
        cases=f"{BENCHMARK}/{{split}}_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
        base=f"{STAGES}/base/{{backbone}}/{{split}}_{{task}}.parquet",
        backbone=backbone_files,
        code=lib("run_edits"),
    output:
        f"{STAGES}/records/{{backbone}}/{{split}}_{{task}}/k{{k}}/{{method}}.parquet",
    log:
        "logs/records/{backbone}/{split}_{task}/k{k}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/records/{{backbone}}/{{split}}_{{task}}/k{{k}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=3000,
        gpu=gpus,
    params:
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers"),
        method=method_fields,
        edits=edits_of_split,
        generation=CONFIG.evaluation.model_dump(
            mode="json", include={"generate", "max_new_tokens"}
        ),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/run_edits.py"


rule frontier_records:
    input:
        unpack(knowledge_of_method),
        cases=f"{BENCHMARK}/eval_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/eval.safetensors",
        base=f"{STAGES}/base/{{backbone}}/eval_{{task}}.parquet",
        backbone=backbone_files,
        code=lib("sweep"),
    output:
        f"{STAGES}/frontier/{{backbone}}/{{task}}/{{method}}.parquet",
    log:
        "logs/frontier/{backbone}/{task}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/frontier/{{backbone}}/{{task}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=3000,
        gpu=gpus,
    params:
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers"),
        method=method_fields,
        knob=CONFIG.frontier.knob,
        values=CONFIG.frontier.values,
        edits=CONFIG.evaluation.edits,
        generation=CONFIG.evaluation.model_dump(
            mode="json", include={"generate", "max_new_tokens"}
        ),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/sweep.py"


rule tuning_trials:
    input:
        unpack(knowledge_of_method),
        cases=f"{BENCHMARK}/dev_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/dev.safetensors",
        base=f"{STAGES}/base/{{backbone}}/dev_{{task}}.parquet",
        backbone=backbone_files,
        code=lib("search"),
    output:
        f"{STAGES}/tuning/{{backbone}}/{{task}}/{{method}}.csv",
    log:
        "logs/tuning/{backbone}/{task}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning/{{backbone}}/{{task}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=3000,
        gpu=gpus,
    params:
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers"),
        method=method_fields,
        trials=CONFIG.tuning.trials,
        edits=CONFIG.tuning.edits,
        generation=CONFIG.evaluation.model_dump(
            mode="json", include={"generate", "max_new_tokens"}
        ),
        grid=lambda wildcards: CONFIG.tuning.grids.get(wildcards.method, {}),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/search.py"
