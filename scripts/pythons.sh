#!/bin/sh
# Run the tests of the guard, the hub and both engines on later versions of Python than the one in .venv.
#   scripts/pythons.sh newest    the newest that is here
#   scripts/pythons.sh others    those between it and the one in .venv
# They are looked for on the PATH and among pyenv's; NEWEST=/path/to/python names the one to take as the newest.
set -eu
which=$1
used=$(.venv/bin/python -c 'import sys; print(sys.version_info.minor)')
pyenv=$(pyenv root 2>/dev/null || echo /nowhere)

minor_of() { # nothing, if it is no Python or cannot make environments
    "$1" -c 'import ensurepip, sys, venv; print(sys.version_info.minor)' 2>/dev/null || true
}

found() { # the paths of all that are later, the newest first
    for minor in 14 13 12; do
        [ "$minor" -gt "$used" ] || break
        for candidate in "python3.$minor" "$pyenv/versions/3.$minor".*/bin/python; do
            if [ "$(minor_of "$candidate")" = "$minor" ]; then
                echo "$candidate"
                break
            fi
        done
    done
}

if [ -n "${NEWEST:-}" ]; then
    if [ -z "$(minor_of "$NEWEST")" ]; then
        echo "NEWEST=$NEWEST is no Python with a venv module: name another one, or leave NEWEST unset" >&2
        exit 1
    fi
    chosen=$NEWEST
elif [ "$which" = newest ]; then
    chosen=$(found | head -n 1)
else
    chosen=$(found | tail -n +2)
fi
[ -n "$chosen" ] || echo "nothing to try: .venv uses Python 3.$used, and no other later one is here"
for python in $chosen; do
    folder=.venv-3.$(minor_of "$python")
    echo "the guard, the hub and the engines on $("$python" --version):"
    PYTHON=$python sh scripts/venv.sh "$folder" requirements/dev.txt
    "$folder/bin/python" -m pytest -q -n auto -p no:cacheprovider \
        tests/test_requirements.py tests/wire tests/guard tests/socketio tests/engines tests/hub
done
