# Editing and scoring: the frozen layers' part of all questions, answers before any edit, records of every method, sweeps
# of one field, the search on dev edits.


rule frozen:
    input:
        **ASKED,
        cases=cases_of_job,
        visual=seen("{split}"),
    output:
        states=expand(f"{STAGES}/frozen/{{{{backbone}}}}/{{{{split}}}}_{{task}}.safetensors", task=TASKS),
    log:
        "logs/frozen/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/frozen/{{backbone}}/{{split}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(EDITS),
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("keep_frozen", data=TEXT_QUESTIONS),
        first_layers=first_layers,
        edits=edits_of_split,
    message:
        "Keep what the layers of {wildcards.backbone} make of the questions of the split {wildcards.split}."
    script:
        "../workflow_scripts/keep_frozen.py"


rule base_answers:
    input:
        **ASKED,
        cases=cases_of_job,
        visual=seen("{split}"),
        frozen=lambda wildcards: frozen_of(wildcards.backbone, [wildcards.split], TASKS),
    output:
        answers=expand(f"{STAGES}/base/{{{{backbone}}}}/{{{{split}}}}_{{task}}.parquet", task=TASKS),
    log:
        "logs/base_answers/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/base_answers/{{backbone}}/{{split}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES, "layers"),
        evaluation=SESSIONS,
    params:
        **opens_backbone("text_locality"),
        code=lib("answer_before", data=TEXT_QUESTIONS),
        edits=edits_of_split,
        evaluation=fields(CONFIG.evaluation, "generate", "max_new_tokens"),
    message:
        "Ask {wildcards.backbone} all probes before any edit ({wildcards.split})."
    script:
        "../workflow_scripts/answer_before.py"


rule records:
    input:
        unpack(files_of_method),
        **ASKED,
        cases=cases_of_job,
        visual=seen_by_edits,
        frozen=frozen_files,
        base=of_its_tasks(f"{STAGES}/base/{{backbone}}/{{split}}_{{task}}.parquet"),
    output:
        records=f"{STAGES}/records/{{backbone}}/{{split}}_{{task}}/k{{ks}}/{{method}}{{repeat}}{{shard}}.parquet",
    log:
        "logs/records/{backbone}/{split}_{task}/k{ks}/{method}{repeat}{shard}.log",
    benchmark:
        f"{STAGES}/benchmarks/records/{{backbone}}/{{split}}_{{task}}/k{{ks}}/{{method}}{{repeat}}{{shard}}.tsv"
    priority: -1  # what several methods wait for comes first, so that all cores have work until the end
    threads: CONFIG.threads
    resources:
        **runs_backbone(EDITS),
        evaluation=SESSIONS,
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("run_edits", data=TEXT_QUESTIONS),
        room=room,
        criteria=CRITERIA_CODE,
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        method=method_fields,
        edits=edits_of_split,
        shard=shard_numbers,
        evaluation=fields(CONFIG.evaluation, "generate", "criteria", "max_new_tokens"),
        seed=seed_of,
    message:
        "Edit {wildcards.backbone} with {wildcards.method} and score it ({wildcards.split}, {wildcards.task}, K = {wildcards.ks})."
    script:
        "../workflow_scripts/run_edits.py"


rule sweep_records:
    input:
        unpack(files_of_method),
        **ASKED,
        cases=f"{ASKABLE}/eval_{{task}}.json",
        visual=seen_by_edits,
        frozen=frozen_files,
        base=f"{STAGES}/base/{{backbone}}/eval_{{task}}.parquet",
    output:
        records=f"{STAGES}/sweeps/{{backbone}}/{{task}}/{{sweep}}/{{method}}.parquet",
    log:
        "logs/sweeps/{backbone}/{task}/{sweep}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/sweep_records/{{backbone}}/{{task}}/{{sweep}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(EDITS),
        evaluation=SESSIONS,
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("sweep", data=TEXT_QUESTIONS),
        room=room,
        criteria=CRITERIA_CODE,
        evaluation=fields(CONFIG.evaluation, "criteria"),
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        method=method_fields,
        points=lambda wildcards: CONFIG.figures.sweep(wildcards.sweep).points(wildcards.method),
        edits=lambda wildcards: evaluation_edits(wildcards, CONFIG.figures.sweep(wildcards.sweep).edits),
        seed=CONFIG.seeds[0],
    message:
        "Edit {wildcards.backbone} with {wildcards.method} at every point of {wildcards.sweep} ({wildcards.task})."
    script:
        "../workflow_scripts/sweep.py"


rule tuning_trials:
    input:
        unpack(files_of_trials),
        **ASKED,
        cases=cases_of("dev", FIRST.single_tasks),
        frozen=lambda wildcards: frozen_of(wildcards.backbone, ["dev"], FIRST.single_tasks),
        base=expand(f"{STAGES}/base/{{{{backbone}}}}/dev_{{task}}.parquet", task=FIRST.single_tasks),
    output:
        trials=f"{STAGES}/tuning/{{backbone}}/{{method}}.csv",
    log:
        "logs/tuning/{backbone}/{method}.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning/{{backbone}}/{{method}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(EDITS),
        evaluation=SESSIONS,
    params:
        **opens_backbone("layers", "text_locality"),
        code=lib("search", data=TEXT_QUESTIONS),
        room=room,
        criteria=CRITERIA_CODE,
        evaluation=fields(CONFIG.evaluation, "criteria"),
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        method=method_fields,
        tasks=FIRST.single_tasks,
        trials=CONFIG.tuning.trials,
        edits=CONFIG.tuning.edits,
        training_edits=training_edits,
        grid=lambda wildcards: CONFIG.tuning.grids.get(wildcards.method, {}),
        seed=CONFIG.seeds[0],
    message:
        "Search the settings of {wildcards.method} for {wildcards.backbone} on development edits."
    script:
        "../workflow_scripts/search.py"
