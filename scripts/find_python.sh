#!/usr/bin/env bash
# Prints a Python that fits, for the Makefile: the one that the user named, else the first of the usual names that
# fits, else one that uv fetches into .heimdall/python. What fits is in src/heimdall/doctor.
#
#     scripts/find_python.sh [NAMED]      in the repository's root
set -euo pipefail

doctor() { PYTHONPATH=src "$@"; }
fits() { doctor "$1" -m heimdall.doctor --fits >/dev/null 2>&1; }
# The oldest Python that the doctor runs with, and that uv can be installed by.
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; }
fail() {
    echo "make: $1" >&2
    exit 1
}

if [ -n "${1:-}" ]; then
    fits "$1" && echo "$1" && exit
    command -v "$1" >/dev/null || fail "PYTHON=$1: there is no such program"
    usable "$1" || fail "PYTHON=$1: $("$1" --version 2>&1) is too old. Name another: make demo PYTHON=python3.13"
    doctor "$1" -m heimdall.doctor >&2 || true
    fail "PYTHON=$1 does not fit: see above"
fi

any=
for name in .venv/bin/python python3 python3.13 python3.12 python3.11; do
    fits "$name" && echo "$name" && exit
    [ -n "$any" ] || ! usable "$name" || any=$name
done
[ -n "$any" ] || fail "no Python was found. Install one, such as \`apt-get install make git python3 python3-venv\`"

echo "make: no Python here fits ($any is $("$any" --version)); uv is asked to fetch one into .heimdall/python" >&2
fetched=.heimdall/python/log
mkdir -p .heimdall/python
fetch() {
    uv=$(command -v uv) || {
        uv=$PWD/.heimdall/uv/bin/uv
        "$any" -m pip install --quiet --disable-pip-version-check --target .heimdall/uv --upgrade \
            --require-hashes --requirement requirements/uv.txt || return
    }
    export UV_PYTHON_INSTALL_DIR=$PWD/.heimdall/python
    "$uv" python install --no-bin 3.13 && "$uv" python find --managed-python 3.13 >"$fetched.found"
}
if fetch >"$fetched" 2>&1 && fits "$(cat "$fetched.found")"; then
    cat "$fetched.found"
    exit
fi
doctor "$any" -m heimdall.doctor >&2 || true
fail "uv could not fetch a Python ($(grep -v '^ *$' "$fetched" | tail -n 1 | sed 's/^ *\(cause: \)\?//')). Install one, see above"
