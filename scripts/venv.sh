#!/bin/sh
# Make a virtual environment and install what a requirements file pins.
#   scripts/venv.sh FOLDER REQUIREMENTS
# PYTHON names the interpreter; else the first of python3, python3.14 … python3.11 that is new enough is taken.
set -eu
folder=$1 requirements=$2

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

stamp=$folder/.made-of
wanted=$(cat "$requirements" pyproject.toml | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

if ! "$PYTHON" -m venv "$folder" 2>/dev/null; then
    echo "$PYTHON cannot make a virtual environment: install its venv module (Debian: apt install python3-venv)" >&2
    exit 1
fi
echo "installing into $folder …"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e .
echo "$wanted" >"$stamp"
