#!/usr/bin/env bash
# The smoke run's Table 1 from a SLURM cluster, byte for byte as from this machine, though its cells are made in two shards
# each and one of the jobs is cancelled; then a job whose backbone is on a GPU, as far as that goes without one.
# Starts a throw-away cluster (cluster.sh), for which it needs root and, unless they are there, Debian's packages
# slurm-wlm and munge; where it cannot, it says why and ends with 0. PYTHON: an environment with the extra "slurm";
# TABLE, CANCELLED: another table, and the rule of which a job is cancelled; SNAKEMAKE_ARGS goes on to Snakemake.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
BACKBONE=minigpt4-nano # of the smoke run's tables
SMOKE=.smoke     # where `make smoke` works; Snakemake makes what is missing there
WORK=.slurm-test # the run on the cluster, from nothing, and all logs
TABLE=${TABLE:-results/table1.csv}
CONTROL=results/stages/positive_control/$BACKBONE.parquet # with it, as in `make smoke`, the table has its verdict
CANCELLED=rule_${CANCELLED:-records}

skip() { echo "slurm-test: skipped: $*"; exit 0; }
fail() { echo "slurm-test: FAILED: $*" >&2; exit 1; }

make_table() { # folder, then options of Snakemake; takes the place of the shell that calls it
    local folder=$1
    shift
    exec timeout -k 20 1440 "$PYTHON" -m snakemake --directory "$folder" --configfile presets/smoke.yaml "$@" -- "$TABLE" $CONTROL </dev/null
}

on_cluster=(--profile profiles/slurm --latency-wait 5 --slurm-status-command squeue
    --slurm-init-seconds-before-status-checks 5)

cancel_one() { # wait for a running job of the rule and cancel it; print its id
    local job=""
    while kill -0 "$driver" 2>/dev/null; do
        job=$(squeue --noheader --states running --format "%i %k" | awk -v rule="$CANCELLED" 'index($2, rule) {print $1; exit}')
        [ -z "$job" ] || break
        sleep 0.5
    done
    [ -n "$job" ] || return 1
    scancel "$job"
    echo "$job"
}

[ "$(id -u)" = 0 ] || skip "a cluster can only be started by root"
"$PYTHON" -c "import snakemake_executor_plugin_slurm" 2>/dev/null || skip "$PYTHON has no snakemake-executor-plugin-slurm"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    echo "slurm-test: installing slurm-wlm and munge"
    export DEBIAN_FRONTEND=noninteractive
    { timeout -k 10 120 apt-get update -qq || true; } >/dev/null 2>&1
    timeout -k 10 300 apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null 2>&1 ||
        skip "apt-get cannot install slurm-wlm and munge"
fi

echo "slurm-test: on this machine"
mkdir -p $WORK
(make_table $SMOKE --profile profiles/local --cores "$(getconf _NPROCESSORS_ONLN)" >$WORK/local.log 2>&1) ||
    fail "the run on this machine: $WORK/local.log"

driver=""
# shellcheck disable=SC2317
clean_up() {
    [ -z "$driver" ] || kill "$driver" 2>/dev/null || true
    tests/slurm/cluster.sh stop
}
trap clean_up EXIT
timeout -k 10 60 tests/slurm/cluster.sh start || fail "the cluster does not start"

# Jobs have a home folder that cannot be written, which this shell's can be.
mkdir -p $WORK/bin
cat >$WORK/bin/sbatch <<END
#!/usr/bin/env bash
exec $(command -v sbatch) "\${@/#--export=ALL/--export=ALL,HOME=/dev/null/home}"
END
chmod +x $WORK/bin/sbatch
PATH=$PWD/$WORK/bin:$PATH

echo "slurm-test: two jobs with a GPU each, as SLURM gives them out"
see='from unike_lib.gpu_slot import hold_gpu; import os, time; assert hold_gpu() is None; time.sleep(3)
print(os.environ["CUDA_VISIBLE_DEVICES"])'
given=$(for _ in 1 2; do timeout -k 5 60 srun --quiet --ntasks 1 --mem 500 --gpus 1 "$PYTHON" -c "$see" & done; wait)
[ "$(sort <<<"$given")" = $'0\n1' ] || fail "expected GPUs 0 and 1, was given: $given"

echo "slurm-test: on the cluster"
rm -rf $WORK/cluster
echo "backbones: {$BACKBONE: {shards: 2}}" >$WORK/shards.yaml
make_table $WORK/cluster $WORK/shards.yaml "${on_cluster[@]}" ${SNAKEMAKE_ARGS:-} >$WORK/cluster.log 2>&1 &
driver=$!
job=$(cancel_one) || fail "no job of $CANCELLED was seen: $WORK/cluster.log"
wait "$driver" || fail "the run on the cluster: $WORK/cluster.log"
driver=""

tests/slurm/cluster.sh jobs | tee $WORK/jobs.txt
what=$(awk -v job="$job" '$1 == job && $2 == "CANCELLED" {print $5}' $WORK/jobs.txt)
[ -n "$what" ] || fail "job $job was not cancelled"
grep -q "^[0-9]* COMPLETED .* $what\$" $WORK/jobs.txt || fail "$what was not tried again"
cmp "$SMOKE/$TABLE" "$WORK/cluster/$TABLE" || fail "the tables differ"
passed="$(grep -c "COMPLETED .* rule_" $WORK/jobs.txt) jobs, $what cancelled once and tried again, tables equal"

echo "slurm-test: a job whose backbone is on a GPU"
echo "backbones: {$BACKBONE: {device: cuda}}" >$WORK/cuda.yaml
TABLE=results/stages/visual/$BACKBONE/eval.safetensors CONTROL=""
(make_table $WORK/cluster $WORK/cuda.yaml "${on_cluster[@]}" --retries 0 --force >$WORK/cuda.log 2>&1) || true
tests/slurm/cluster.sh jobs >$WORK/jobs.txt
[ "$(grep " rule_" $WORK/jobs.txt | grep -c "gpu:")" = 1 ] || fail "a job without need of a GPU asked for one"
grep "rule_visual" $WORK/jobs.txt | tail -n 1 | grep -q "gpu:1 " || fail "the job did not ask for one GPU: $WORK/jobs.txt"
echo "slurm-test: passed: $passed; the job on a GPU asked for one"
