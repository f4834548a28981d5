#!/bin/sh
# Create a virtual environment and install the packages that requirements files pin.
#   scripts/venv.sh FOLDER REQUIREMENTS…
# PYTHON names the interpreter. By default, it is the first of python3, python3.14 … python3.11 that is new enough.
#
# The result is reproducible: pip itself is pinned, each file lists all dependencies (tests/test_requirements.py checks
# this), and pip installs nothing else.
set -eu
folder=$1
shift

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || {
        echo "PYTHON=$PYTHON does not exist or is older than 3.11; name another one, or unset PYTHON" >&2
        exit 1
    }
else
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if new_enough "$candidate"; then PYTHON=$candidate; break; fi
    done
    if [ -z "${PYTHON:-}" ]; then
        echo "roomkey requires Python 3.11 or later; install it, or run: make serve PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
fi

installer=requirements/install.txt
stamp=$folder/.made-of
wanted=$(cat "$installer" "$@" pyproject.toml "$0" | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

if ! "$PYTHON" -m venv "$folder" 2>/dev/null; then
    echo "$PYTHON cannot create a virtual environment; install its venv module (Debian: apt install python3-venv)" >&2
    exit 1
fi
echo "installing into $folder …"
install() {
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"
}
for requirements in "$installer" "$@"; do install --require-hashes -r "$requirements"; done
install --no-build-isolation -e .
echo "$wanted" >"$stamp"
