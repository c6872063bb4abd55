#!/usr/bin/env bash
# A search on a Slurm allocation: one Ray node on each machine, the driver on the first.
#
#   sbatch --nodes=4 --gpus-per-node=8 cluster/launch/slurm.sh --bin Bin2 --lang en-zh --name mine [...]
#
# Submit it from this checkout, on a file system that all nodes share; everything after the script's name goes to
# `python -m search.run`. Submitted again (or requeued after a time limit), it goes on where it stopped.
#SBATCH --job-name=compression-search
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --signal=B:INT@60
# (--no-kill: a machine that dies takes only its own candidates with it. --signal: to this script, which hands it to the
# driver, a minute before the time limit.)
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$PWD}"
BIN="${VENV:-$PWD/.venv}/bin"

# A token of this job's own: Ray runs what anyone sends it, and compute nodes have other users.
umask 077
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$PWD/.token-$SLURM_JOB_ID" RAY_USAGE_STATS_ENABLED=0
"$BIN/python" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"

HEAD="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export BIN HEAD PORT="${PORT:-$((20000 + SLURM_JOB_ID % 10000))}" CPUS="${SLURM_CPUS_PER_TASK:-1}"
export SCRATCH="${SCRATCH_DIR:-/tmp}/ray-$SLURM_JOB_ID"  # short: Ray's sockets have names of 107 bytes at most

srun --ntasks-per-node=1 --kill-on-bad-exit=0 bash -c '
  if [ "$SLURM_PROCID" = 0 ]; then
    exec "$BIN/ray" start --block --head --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port="${DASHBOARD:-8265}" \
      --temp-dir="$SCRATCH" --num-cpus="$CPUS"
  fi
  "$BIN/python" -m cluster.wait "$HEAD:$PORT" 1
  exec "$BIN/ray" start --block --address="$HEAD:$PORT" --num-cpus="$CPUS"
' > "ray-$SLURM_JOB_ID.log" 2>&1 &
trap 'kill %1 2>/dev/null || true; wait || true; rm -rf "$RAY_AUTH_TOKEN_PATH" "$SCRATCH"' EXIT

"$BIN/python" -m cluster.wait "$HEAD:$PORT" "$SLURM_JOB_NUM_NODES"

# The same command goes on with a run that is already there.
NAME="slurm-$SLURM_JOB_ID" RUNS=runs
ARGUMENTS=("$@")
for ((i = 0; i < $#; i++)); do
  case "${ARGUMENTS[i]}" in
    --name) NAME="${ARGUMENTS[i + 1]}" ;;
    --runs) RUNS="${ARGUMENTS[i + 1]}" ;;
  esac
done
RESUME=()
if [ -e "$RUNS/$NAME/config.json" ]; then RESUME=(--resume); fi
set -m  # else what runs in the background ignores interrupts
"$BIN/python" -m search.run "$@" --name "$NAME" --address "$HEAD:$PORT" "${RESUME[@]}" &
SEARCH=$!
set +m
trap 'kill -INT "$SEARCH"' INT TERM
wait "$SEARCH" || { wait "$SEARCH"; exit $?; }
