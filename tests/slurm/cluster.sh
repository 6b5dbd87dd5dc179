#!/usr/bin/env bash
# A throw-away SLURM cluster whose one node is this machine: cluster.sh start | stop | jobs
# Needs root and Debian's packages slurm-wlm and munge. 64 GB and two GPUs are pretended (the GPUs are /dev/null under
# another name), so that jobs can ask for what they would ask for elsewhere. There is no accounting: sacct does not work.
set -euo pipefail

CONF=/etc/slurm/slurm.conf # no other place: the jobs' own srun would not find it
MARK="# Written by tests/slurm/cluster.sh: a throw-away cluster"
RUN=/run/unike-slurm
MUNGE_ID=/run/munge/munged.pid
CPUS=$(getconf _NPROCESSORS_ONLN) # nproc would read OMP_NUM_THREADS
HOST=$(hostname -s)

# Not kill -0: where nobody reaps them, ended daemons stay as zombies.
runs() { [ -s "$1" ] && grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$(cat "$1")/status"; }

until_true() { # seconds, command: try until it holds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

munge_works() { munge -n | unmunge; }
node_is_idle() { sinfo --noheader --Node --format %T | grep -qx idle; }

start_munge() {
    munge_works >/dev/null 2>&1 && return
    install -d -o munge -g munge -m 700 /etc/munge /var/lib/munge /var/log/munge
    install -d -o munge -g munge -m 755 /run/munge
    [ -s /etc/munge/munge.key ] || head -c 1024 /dev/urandom >/etc/munge/munge.key
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    setpriv --reuid munge --regid munge --clear-groups munged --force --pid-file=$MUNGE_ID
    until_true 10 munge_works
}

configure() {
    if [ -s $CONF ] && ! grep -qxF "$MARK" $CONF; then
        echo "$CONF belongs to another cluster" >&2
        exit 1
    fi
    mkdir -p /etc/slurm $RUN/state $RUN/node
    getent hosts "$HOST" >/dev/null || echo "127.0.0.1 $HOST" >>/etc/hosts
    ln -sf /dev/null $RUN/gpu0
    ln -sf /dev/null $RUN/gpu1
    printf 'AutoDetect=off\nNodeName=%s Name=gpu File=%s/gpu[0-1]\n' "$HOST" $RUN >/etc/slurm/gres.conf
    cat >$CONF <<END
$MARK
ClusterName=throwaway
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ReturnToService=2
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.pid
SlurmctldLogFile=$RUN/slurmctld.log
SlurmdLogFile=$RUN/slurmd.log
StateSaveLocation=$RUN/state
SlurmdSpoolDir=$RUN/node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=3600
GresTypes=gpu
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$((CPUS > 1 ? CPUS : 2)) RealMemory=65536 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
END
}

start() {
    runs $RUN/slurmctld.pid && return
    start_munge
    configure
    slurmctld -c
    slurmd -c
    until_true 30 node_is_idle || { tail -n 20 $RUN/*.log >&2; exit 1; }
}

stop() {
    runs $RUN/slurmctld.pid && timeout -k 5 20 scancel --user root || true
    for file in $RUN/slurmd.pid $RUN/slurmctld.pid $MUNGE_ID; do
        runs $file || continue
        kill "$(cat $file)"
        until_true 15 eval "! runs $file" || kill -9 "$(cat $file)"
    done
    # Only what is ours: the configuration of another cluster stays.
    ! grep -qsxF "$MARK" $CONF || rm -rf $CONF /etc/slurm/gres.conf $RUN
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    # Every job of this cluster, finished ones too: id, state, time, GPUs, what it was.
    jobs) squeue --noheader --states all --sort i -O "JobID:12,State:14,TimeUsed:14,tres-per-job:24,Comment:200" |
        awk '{$1 = $1} 1' ;;
    *) sed -n 2,4p "$0"; exit 2 ;;
esac
