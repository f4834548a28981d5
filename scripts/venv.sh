#!/bin/sh
# Make a virtual environment and install what requirements files pin, one after another.
#   scripts/venv.sh FOLDER REQUIREMENTS…
# PYTHON names the interpreter; else the first of python3, python3.14 … python3.11 that is new enough is taken.
#
# What it installs does not depend on the day: pip itself is pinned, each file names all that it needs (which
# tests/test_requirements.py checks), and pip looks for nothing else.
set -eu
folder=$1
shift

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || {
        echo "PYTHON=$PYTHON is not there or older than 3.11: name another one, or leave PYTHON unset" >&2
        exit 1
    }
else
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if new_enough "$candidate"; then PYTHON=$candidate; break; fi
    done
    if [ -z "${PYTHON:-}" ]; then
        echo "roomkey needs Python 3.11 or later: install it, or name it: make serve PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
fi

installer=requirements/install.txt
stamp=$folder/.made-of
wanted=$(cat "$installer" "$@" pyproject.toml "$0" | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

if ! "$PYTHON" -m venv "$folder" 2>/dev/null; then
    echo "$PYTHON cannot make a virtual environment: install its venv module (Debian: apt install python3-venv)" >&2
    exit 1
fi
echo "installing into $folder …"
install() {
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"
}
for requirements in "$installer" "$@"; do install --require-hashes -r "$requirements"; done
install --no-build-isolation -e .
echo "$wanted" >"$stamp"
