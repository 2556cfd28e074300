#!/usr/bin/env bash
# `make clean`: says what goes, asks, and removes it. With FORCE=1 it does not ask.
set -euo pipefail
cd "$(dirname "$0")/.."

servers=.heimdall/services
declare -A meaning=(
    [.venv]="the installation"
    [data]="snapshot, features and simulated sessions"
    [models]="models and their card"
    [.heimdall]="MLflow's records, runs by hand, unfinished work"
    [.dvc/cache]="DVC's cache: the results of every experiment"
    [.dvc/tmp]="DVC's queue of experiments"
    [.dvc/config.local]="the remote's local settings and credentials"
    [dvc_plots]="plots as a page"
)
# What the stages write there, and nothing that somebody else put beside it.
outputs=(data/snapshot data/features data/simulated data/quarantine.parquet data/feature_keys.json
    "models/localizer.*" "models/pretrained.*" models/README.md)
ignored() { LC_ALL=C git clean -ndx -- "${outputs[@]}" 2>/dev/null | grep "remove $1/" >/dev/null; }

found=()
for path in .venv data models .heimdall .dvc/cache .dvc/tmp .dvc/config.local dvc_plots; do
    [ -e "$path" ] || continue
    # Of these two git keeps files of its own, which stay.
    [[ $path != data && $path != models ]] || ignored "$path" || continue
    found+=("$path")
done
if [ ${#found[@]} = 0 ]; then
    echo "make clean: there is nothing to remove"
    exit
fi

echo "make clean removes from this clone:"
for path in "${found[@]}"; do
    printf '  %-18s %6s  %s\n' "$path" "$(du -sh "$path" | cut -f1)" "${meaning[$path]}"
done
if [ -d $servers ]; then
    if [ ! -x .venv/bin/heimdall ]; then
        echo "make clean: the servers cannot be stopped without the installation. Run \`make setup\` first" >&2
        exit 1
    fi
    echo "  the embedded servers, with their database and all that was pushed to their buckets"
fi
echo "What was committed to git stays, and so does a server that is not this clone's."
if [ "${FORCE:-}" != 1 ]; then
    if [ ! -t 0 ]; then
        echo "make clean: nobody can answer here, so nothing was removed. Run \`make clean FORCE=1\`" >&2
        exit 1
    fi
    read -r -p "Remove all of it? [y/N] " answer
    if [[ $answer != [yY]* ]]; then
        echo "Nothing was removed."
        exit
    fi
fi

[ ! -d $servers ] || .venv/bin/heimdall services down --delete
git clean -fdxq -- "${outputs[@]}"
rm -rf .venv .heimdall .dvc/cache .dvc/tmp .dvc/config.local dvc_plots
if [ -n "$(git tag --list 'localizer[@#]*')" ]; then
    echo "The tags of this clone's releases stay (git tag --list 'localizer*' 'v*'). If the releases were in the"
    echo "bucket that is gone now, delete the tags with \`git tag --delete\` before you release here again."
fi
