# Tiers of locality: a search in a split's own questions and in what a backbone sees in its pictures.

TIERS = CONFIG.evaluation.tiers and CONFIG.evaluation.generate


rule near_probes:
    input:
        cases=cases_of("{split}"),
        visual=seen("{split}"),
    output:
        cases=expand(f"{STAGES}/tiers/{{{{backbone}}}}/{{{{split}}}}_{{task}}.json", task=TASKS),
        counts=f"{STAGES}/tiers/{{backbone}}/{{split}}.csv",
    log:
        "logs/near_probes/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/near_probes/{{backbone}}/{{split}}.tsv"
    priority: 1  # records and the scope wait for it
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
