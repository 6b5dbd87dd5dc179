# Editing and scoring: the frozen layers' part of all questions, answers before any edit, records of every method, sweeps
# of one field, the search on dev edits.


rule frozen:
    input:
        cases=expand("{folder}/{{split}}_{task}.json", folder=BENCHMARK, task=TASKS),
        visual=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
        backbone=backbone_files,
        questions=text_questions,
    output:
        expand("{folder}/frozen/{{backbone}}/{{split}}_{task}.safetensors", folder=STAGES, task=TASKS),
    log:
        "logs/frozen/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/frozen/{{backbone}}/{{split}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        gpu=gpus,
    params:
        code=lib("keep_frozen", data=TEXT_QUESTIONS),
        first_layers=first_layers,
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        edits=edits_of_split,
    script:
        "../workflow_scripts/keep_frozen.py"


rule base_answers:
    input:
        cases=f"{BENCHMARK}/{{split}}_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
        frozen=frozen_files,
        backbone=backbone_files,
        questions=text_questions,
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
        code=lib("answer_before", data=TEXT_QUESTIONS),
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "text_locality"),
        edits=edits_of_split,
        generation=GENERATION,
    script:
        "../workflow_scripts/answer_before.py"


rule records:
    input:
        unpack(files_of_method),
        cases=of_its_tasks(f"{BENCHMARK}/{{split}}_{{task}}.json"),
        visual=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
        frozen=frozen_files,
        base=of_its_tasks(f"{STAGES}/base/{{backbone}}/{{split}}_{{task}}.parquet"),
        backbone=backbone_files,
        questions=text_questions,
    output:
        f"{STAGES}/records/{{backbone}}/{{split}}_{{task}}/k{{ks}}/{{method}}{{repeat}}{{shard}}.parquet",
    log:
        "logs/records/{backbone}/{split}_{task}/k{ks}/{method}{repeat}{shard}.log",
    benchmark:
        f"{STAGES}/benchmarks/records/{{backbone}}/{{split}}_{{task}}/k{{ks}}/{{method}}{{repeat}}{{shard}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        gpu=gpus,
    params:
        code=lib("run_edits", data=TEXT_QUESTIONS),
        room=room,
        folder=backbone_folder,
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        method=method_fields,
        edits=edits_of_split,
        shard=shard_numbers,
        generation=GENERATION,
        seed=seed_of,
    script:
        "../workflow_scripts/run_edits.py"


rule sweep_records:
    input:
        unpack(files_of_method),
        cases=f"{BENCHMARK}/eval_{{task}}.json",
        visual=f"{STAGES}/visual/{{backbone}}/eval.safetensors",
        frozen=frozen_files,
        base=f"{STAGES}/base/{{backbone}}/eval_{{task}}.parquet",
        backbone=backbone_files,
        questions=text_questions,
    output:
        f"{STAGES}/sweeps/{{backbone}}/{{task}}/{{sweep}}/{{method}}.parquet",
    log:
        "logs/sweeps/{backbone}/{task}/{sweep}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/sweep_records/{{backbone}}/{{task}}/{{sweep}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        gpu=gpus,
    params:
        code=lib("sweep", data=TEXT_QUESTIONS),
        room=room,
        folder=backbone_folder,
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        method=method_fields,
        points=lambda wildcards: CONFIG.figures.sweep(wildcards.sweep).points(wildcards.method),
        edits=lambda wildcards: evaluation_edits(wildcards, CONFIG.figures.sweep(wildcards.sweep).edits),
        seed=CONFIG.seeds[0],
    script:
        "../workflow_scripts/sweep.py"


rule tuning_trials:
    input:
        unpack(files_of_trials),
        cases=expand(f"{BENCHMARK}/dev_{{task}}.json", task=CONFIG.table1.tasks),
        frozen=lambda wildcards: frozen_of(wildcards.backbone, ["dev"], CONFIG.table1.tasks),
        base=expand(f"{STAGES}/base/{{{{backbone}}}}/dev_{{task}}.parquet", task=CONFIG.table1.tasks),
        backbone=backbone_files,
        questions=text_questions,
    output:
        f"{STAGES}/tuning/{{backbone}}/{{method}}.csv",
    log:
        "logs/tuning/{backbone}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning/{{backbone}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        gpu=gpus,
    params:
        code=lib("search", data=TEXT_QUESTIONS),
        room=room,
        folder=backbone_folder,
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers", "text_locality"),
        method=method_fields,
        tasks=CONFIG.table1.tasks,
        trials=CONFIG.tuning.trials,
        edits=CONFIG.tuning.edits,
        training_edits=training_edits,
        grid=lambda wildcards: CONFIG.tuning.grids.get(wildcards.method, {}),
        seed=CONFIG.seeds[0],
    script:
        "../workflow_scripts/search.py"
