#!/usr/bin/env bash
# Promise: another CPU gives the same bytes. A tiny simulated world goes through all stages after the
# snapshot on this machine, and again on an Intel Haswell (AVX2, no AVX-512) that qemu-user emulates.
#
#     apt-get install qemu-user
#     source .venv/bin/activate
#     benchmarks/emulated_cpu.sh
#
# It takes about six minutes on two idle cores (five of CPU time), in a temporary folder that is removed, and
# checks what is committed. The exit code is 0 only if every output is equal, every process of the second run
# saw the emulated CPU, and an evaluation without the recipe of heimdall.core.determinism differs: the comparison
# can fail.
set -euo pipefail

fail() {
    echo "emulated_cpu.sh: $1" >&2
    exit 1
}
command -v qemu-x86_64 >/dev/null || fail "qemu-x86_64: not installed. Run \`apt-get install qemu-user\`"
command -v heimdall >/dev/null || fail "heimdall: not installed. Run \`make setup\` and \`source .venv/bin/activate\`"
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
git -C "$root" diff --quiet HEAD || echo "$root: has changes that are not committed and not checked here"

work=$(mktemp -d)
native=$work/native emulated=$work/emulated control=$work/control
# A clean environment: nobody's own database, bucket or thread count.
clean=(env -i PATH="$PATH" HOME="$HOME" HEIMDALL_TRACKING=off)
cleanup() {
    if [ -d "$native/.heimdall" ]; then
        (cd "$native" && "${clean[@]}" PYTHONPATH=src heimdall services down --delete >/dev/null) || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

# run LABEL FOLDER COMMAND...: in a folder, timed; what it says is shown only if it fails.
run() {
    local label=$1 folder=$2 began=$SECONDS
    shift 2
    (cd "$folder" && "$@") >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "$label: failed, see above"
    }
    printf '%-28s %4d s\n' "$label" $((SECONDS - began))
}

git clone --quiet "$root" "$native"
cd "$native"
world=("${clean[@]}" PYTHONPATH=src)
"${world[@]}" python - <<'END'
from pathlib import Path

import yaml

file = Path("params.yaml")
params = yaml.safe_load(file.read_text())
params |= {"epochs": 2, "warmup_epochs": 1, "num_workers": 0}
params["evaluate"]["bootstrap_resamples"] = 50
params["pretrain"] |= {"sessions": 8, "sessions_per_world": 4, "epochs": 1, "warmup_epochs": 1}
file.write_text(yaml.safe_dump(params))
END
mapfile -t recipe < <("${world[@]}" python -c '
from heimdall.core import determinism; from heimdall.core import params
for name, value in determinism.recipe(params.load().threads).items():
    print(f"{name}={value}")')

run "world: services" . "${world[@]}" heimdall services up
run "world: seed" . "${world[@]}" heimdall demo seed --sessions 10 --transmitters 8 --seed 5
run "world: snapshot" . "${world[@]}" python stages/snapshot.py
run "world: services down" . "${world[@]}" heimdall services down --delete
rm -rf metrics models plots # committed ones: what is compared below was made below
cp -r "$native" "$emulated"

# Each Python process, with its children, writes down the CPU that it sees by CPUID.
mkdir "$work/witness"
cat >"$work/witness/sitecustomize.py" <<'END'
import os

import torch

saw = torch.cpu.get_capabilities()
with open(os.environ["WITNESS"], "a") as witness:
    witness.write(f"{saw['cpu_name']}, {'with' if saw['avx512_f'] else 'without'} AVX-512\n")
END
seen=("${clean[@]}" "${recipe[@]}" PYTHONPATH="$work/witness:src")
# The whole recipe is set from the start, and one core makes featurize use no other processes: what an
# emulated process executes is not emulated.
core=$(python -c 'import os; print(min(os.sched_getaffinity(0)))')
qemu=(taskset --cpu-list "$core" qemu-x86_64 -cpu Haswell)
stages=(featurize simulate pretrain train evaluate export)
for stage in "${stages[@]}"; do
    run "native: $stage" "$native" "${seen[@]}" WITNESS="$native.cpu" python "stages/$stage.py"
done
for stage in "${stages[@]}"; do
    run "emulated: $stage" "$emulated" "${seen[@]}" WITNESS="$emulated.cpu" \
        "${qemu[@]}" "$(command -v python)" "stages/$stage.py"
done
cp -r "$native" "$control"
run "control: evaluate" "$control" "${world[@]}" python -c '
import runpy
runpy.run_path("stages/evaluate.py", run_name="no __main__, so it sets no recipe")["main"]()'

machine() { sort -u "$1.cpu" | paste -sd';'; }
printf '\nnative:   %s\nemulated: %s\n\n' "$(machine "$native")" "$(machine "$emulated")"
outputs() { (cd "$1" && find data/feature_keys.json data/features data/simulated metrics models plots -type f); }
short_sha256() { if [ -f "$1" ]; then sha256sum "$1" | cut -c-12; else echo missing; fi; }
different=0
printf '%-52s %-12s  %-12s\n' output native emulated
while read -r output; do
    hashes=("$(short_sha256 "$native/$output")" "$(short_sha256 "$emulated/$output")")
    verdict=equal
    [ "${hashes[0]}" = "${hashes[1]}" ] || { verdict=DIFFERS; different=$((different + 1)); }
    printf '%-52s %-12s  %-12s  %s\n' "$output" "${hashes[@]}" "$verdict"
done < <({ outputs "$native"; outputs "$emulated"; } | sort -u)
echo

emulated_machine=$(machine "$emulated")
[[ $emulated_machine == *", without AVX-512" && $emulated_machine != *";"* ]] ||
    fail "not every process was emulated: $emulated_machine"
[ "${emulated_machine%,*}" != "$(machine "$native" | sed 's/,.*//')" ] || fail "both runs saw the same CPU"
[ "$different" = 0 ] || fail "$different outputs differ; the first stage with one is the cause"
echo "control, evaluate without the recipe: metrics/eval_full.json $(short_sha256 "$control/metrics/eval_full.json")"
! cmp -s "$native/metrics/eval_full.json" "$control/metrics/eval_full.json" || fail "the control is equal: nothing is shown"
echo "Equal on both CPUs; without the recipe different. $((SECONDS / 60)) min $((SECONDS % 60)) s"
