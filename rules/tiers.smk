# Tiers of locality: a search in a split's own questions and in what a backbone sees in its pictures.

TIERS = CONFIG.evaluation.tiers and CONFIG.evaluation.generate


def asked_cases(split, tasks=TASKS):
    """The files of the edits that a backbone is asked, by task: of the evaluation, those with tiers."""
    folder = f"{STAGES}/tiers/{{backbone}}" if TIERS and split == "eval" else ASKABLE
    return cases_of(split, tasks, folder)


def cases_of_job(wildcards):
    """The same of the job's split, for the tasks in its name, or all."""
    tasks = tasks_of(wildcards.task) if "task" in wildcards.keys() else TASKS
    return [file.format(**wildcards) for file in asked_cases(wildcards.split, tasks)]


def counts_of_tiers(wildcards):
    """How many probes of each tier were found for the backbones in the job's table."""
    backbones = [name for table in cells_behind(wildcards) for name in CONFIG.tables[table].backbones]
    return of_each_backbone("tiers/{backbone}/eval.csv", dict.fromkeys(backbones)) if TIERS else []


def searched_edits(wildcards):
    """Of how many edits of the split tiers are searched: of the pool, those that set the semantic scope's thresholds."""
    return CONFIG.knowledge.scope.edits if wildcards.split == "pool" else edits_of_split(wildcards)


def seen_in_probes(wildcards):
    """What the job's backbone sees in the pictures of the split; of the pool, those of probes lie in a file of their own."""
    files = [*seen(wildcards.split), *[f"{STAGES}/scope/{{backbone}}/visual.safetensors"] * (wildcards.split == "pool")]
    return expand(files, backbone=wildcards.backbone)


rule near_probes:
    input:
        cases=cases_of("{split}"),
        visual=seen_in_probes,
    output:
        cases=expand(f"{STAGES}/tiers/{{{{backbone}}}}/{{{{split}}}}_{{task}}.json", task=TASKS),
        counts=f"{STAGES}/tiers/{{backbone}}/{{split}}.csv",
    log:
        "logs/near_probes/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/near_probes/{{backbone}}/{{split}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("find_near_probes"),
        edits=searched_edits,
    message:
        "Find the questions nearest to each edit, as {wildcards.backbone} sees them ({wildcards.split})."
    script:
        "../workflow_scripts/find_near_probes.py"
