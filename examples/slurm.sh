#!/usr/bin/env bash
# clusterkit as a Slurm job, on folders that all nodes see:
#
#   sbatch slurm.sh fit LABELED RUN
#   sbatch --array=0-11%4 slurm.sh assign RUN BATCHES.txt OUT
#
# BATCHES.txt names a folder of images (or a CSV) on each line; each task of the array labels one,
# from line 0 on. A job that is preempted, or whose time is nearly over, ends in seconds, is queued
# again, and goes on from what it had done. Whoever cancels it has it cancelled.
#
# Exit codes: 0 done, 1 an error that the log says, 2 wrong usage, 143 told to end.
#
# How far it was tried: the whole script with stand-ins for srun and scontrol that take notes, by
# the tests of clusterkit, and with clusterkit itself outside of Slurm. Not on a Slurm cluster.
#
#SBATCH --job-name=clusterkit
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=clusterkit-%A_%a.log
# To this shell alone, two minutes before the time is over:
#SBATCH --signal=B:USR1@120
# With a GPU:
##SBATCH --gres=gpu:1

set -uo pipefail

usage() {
    sed -n 's/^#   sbatch/usage: sbatch/p' "$0" >&2
    exit 2
}

what=${1:-}
case "$what $#" in
    "fit 3")
        name=fit
        arguments=(fit "$2" --run "$3")
        # Beside the run, also where its name ends with a slash: a run is made in an empty folder.
        log=${3%/}.events.jsonl
        ;;
    "assign 4")
        run=$2 list=$3 out=$4 number=${SLURM_ARRAY_TASK_ID:-0}
        batch=$(sed -n "$((number + 1))p" "$list" | tr -d '\r')
        if [ -z "$batch" ]; then
            echo "$list has no line $((number + 1)): give --array=0-N with N below its lines" >&2
            exit 2
        fi
        # The number too: two batches may have one name.
        printf -v name '%04d-%s' "$number" "$(basename "$batch")"
        mkdir -p "$out" || exit 1
        arguments=(assign "$batch" --run "$run" --out "$out/$name.csv")
        log=$out/$name.events.jsonl
        ;;
    *) usage ;;
esac

launch=()
if [ -n "${SLURM_JOB_ID:-}" ] && command -v srun >/dev/null; then
    launch=(srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}")
fi

again=false child=
trap 'again=true; kill -TERM "$child" 2>/dev/null' USR1
trap 'kill -TERM "$child" 2>/dev/null' TERM

echo "$(date -Is) $name: begins on $(hostname), restart ${SLURM_RESTART_COUNT:-0}"
${launch[@]+"${launch[@]}"} clusterkit "${arguments[@]}" --json --log-json "$log" &
child=$!
# A signal ends `wait`, and not what it waits for.
while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done
echo "$(date -Is) $name: exit code $code"

if $again && [ "$code" -eq 143 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    echo "its time was over: queued again, it goes on"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
