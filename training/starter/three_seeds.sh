#!/usr/bin/env bash
# Trains the starter's candidates with three seeds, until all runs are done. SEEDS.md says what the runs are for.
#
#   training/starter/three_seeds.sh DATA RUNS [--jobs N] [--variants "A B"] [--seeds "0 1 2"] [--epochs N] [--list]
#                                   [-- FLAGS OF TRAIN]
#
# DATA holds the folders bccd, aquarium and playing_cards. Each run is in RUNS/VARIANT-SEED, its output in
# RUNS/VARIANT-SEED.log. All variants are trained with one seed before the next seed. Ctrl-C or SIGTERM stops the
# schedule; each run then saves its state, and the same command continues. A finished run is not started again.
# --list only says what is done and what is left. Flags after -- are added to each command of train.
#
# Ends with 0 if all runs are done, with 1 if a run failed (the others are trained all the same), and with 130 if it
# was stopped. Needs flock and setsid (util-linux).
set -euo pipefail

usage='usage: three_seeds.sh DATA RUNS [--jobs N] [--variants "A B"] [--seeds "0 1 2"] [--epochs N] [--list] [-- FLAGS]'
say() { echo "three_seeds: $*"; }
fail() { say "$*" >&2; exit 2; }

[ $# -ge 2 ] || fail "$usage"
data="$(realpath -m -- "$1")" runs="$(realpath -m -- "$2")"
shift 2
jobs=1 variants="yolov12-n esmoe-n sparsight-n" seeds="0 1 2" epochs=16 list=no
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --list) list=yes; shift; continue ;;
    --jobs | --variants | --seeds | --epochs) [ $# -ge 2 ] || fail "$1 needs a value; $usage" ;;
    *) fail "unknown option $1; $usage" ;;
  esac
  case "$1" in
    --jobs) jobs="$2" ;;
    --variants) variants="$2" ;;
    --seeds) seeds="$2" ;;
    --epochs) epochs="$2" ;;
  esac
  shift 2
done
[ "${1:-}" != -- ] || shift
for number in "$jobs" "$epochs"; do
  [[ "$number" =~ ^[1-9][0-9]*$ ]] || fail "--jobs and --epochs need a whole number of at least 1, not $number"
done
for seed in $seeds; do [[ "$seed" =~ ^[0-9]+$ ]] || fail "--seeds needs whole numbers, not $seed"; done
[ -d "$data" ] || fail "there is no folder $data"

cd "$(dirname -- "${BASH_SOURCE[0]}")/../.."
python="${PYTHON:-.venv/bin/python}"
command -v "$python" >/dev/null || fail "there is no $python; run make once, or set PYTHON"

# The number of finished epochs of a run, read from the header of its last checkpoint.
epochs_of() {
  "$python" - "$runs/$1/model.safetensors" <<'PYTHON'
import json
import pathlib
import sys

path = pathlib.Path(sys.argv[1])
epoch = "0"
if path.is_file():
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    epoch = json.loads(header["__metadata__"]["provenance"]).get("epoch", "0")
print(epoch)
PYTHON
}

done_runs=() left=() failed=() stopped=no
order=()
for seed in $seeds; do for variant in $variants; do order+=("$variant-$seed"); done; done

report() {
  local name epoch
  done_runs=() left=()
  for name in "${order[@]}"; do
    epoch="$(epochs_of "$name")"
    if [ "$epoch" -ge "$epochs" ]; then
      done_runs+=("$name")
    else
      left+=("$name ($epoch of $epochs epochs)")
    fi
  done
  say "done: ${#done_runs[@]} of ${#order[@]}${done_runs[*]:+: ${done_runs[*]}}"
  for name in "${left[@]}"; do say "left: $name"; done
}

report
[ "$list" = no ] || exit 0
[ ${#left[@]} -gt 0 ] || exit 0

mkdir -p -- "$runs"
exec 9>"$runs/.three_seeds.lock"
flock -n 9 || fail "another schedule trains in $runs; wait until it has ended, or stop it"

declare -A running=()
stop() {
  [ "$stopped" = no ] || return 0
  stopped=yes
  say "stopping; each run saves its state"
  for pid in "${!running[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
}
trap stop INT TERM HUP

# Wait a second, then note which runs have ended, and whether they failed.
reap() {
  local pid name code
  sleep 1 || true
  for pid in "${!running[@]}"; do
    kill -0 "$pid" 2>/dev/null && continue
    name="${running[$pid]}" code=0
    wait "$pid" || code=$?
    unset "running[$pid]"
    if [ "$code" -eq 0 ]; then
      say "finished: $name"
    elif [ "$stopped" = no ]; then
      failed+=("$name")
      say "failed: $name (code $code); the end of $runs/$name.log says why" >&2
    fi
  done
}

for name in "${order[@]}"; do
  [ "$(epochs_of "$name")" -lt "$epochs" ] || continue
  while [ "$stopped" = no ] && [ ${#running[@]} -ge "$jobs" ]; do reap; done
  [ "$stopped" = no ] || break
  say "training: $name"
  # A session of its own, so that Ctrl-C reaches the run only once, by `stop`: a second signal would end it at once.
  OMP_NUM_THREADS=1 setsid "$python" -m training train --recipe starter --data "$data" --variant "${name%-*}" \
    --seed "${name##*-}" --input 256 --epochs "$epochs" --precision f32 --workers 0 --evaluate-every 8 \
    --quiet --run "$runs/$name" "$@" </dev/null >>"$runs/$name.log" 2>&1 &
  running[$!]="$name"
done
while [ ${#running[@]} -gt 0 ]; do reap; done

report
[ "$stopped" = no ] || exit 130
[ ${#failed[@]} -eq 0 ] || exit 1
[ ${#left[@]} -eq 0 ] || { say "a run ended early; start the same command again" >&2; exit 1; }
