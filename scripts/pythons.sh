#!/bin/sh
# Run the tests of the guard, the hub, the bus and both engines on later versions of Python than the one in .venv.
#   scripts/pythons.sh newest    the newest installed version
#   scripts/pythons.sh others    the versions between it and the one in .venv, without the long tests
# Hypothesis tries fewer examples, and fuzzing of frames and packets is left out: the version of Python changes how tasks
# run, and not what input is accepted.
# The script looks for them on the PATH and in pyenv. NEWEST=/path/to/python names the newest one.
set -eu
which=$1
marks=
[ "$which" = newest ] || marks="not long"
used=$(.venv/bin/python -c 'import sys; print(sys.version_info.minor)')
pyenv=$(pyenv root 2>/dev/null || echo /nowhere)

minor_of() { # prints nothing if it is not a Python that can create environments
    "$1" -c 'import ensurepip, sys, venv; print(sys.version_info.minor)' 2>/dev/null || true
}

found() { # prints the paths of all later versions, the newest first
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
        echo "NEWEST=$NEWEST is not a Python with a venv module; name another one, or unset NEWEST" >&2
        exit 1
    fi
    chosen=$NEWEST
elif [ "$which" = newest ]; then
    chosen=$(found | head -n 1)
else
    chosen=$(found | tail -n +2)
fi
[ -n "$chosen" ] || echo "nothing to test: .venv uses Python 3.$used, and no other later version is installed"
for python in $chosen; do
    folder=.venv-3.$(minor_of "$python")
    echo "the guard, the hub, the bus and the engines on $("$python" --version):"
    PYTHON=$python sh scripts/venv.sh "$folder" requirements/dev.txt
    "$folder/bin/python" -m pytest -q -n auto --dist loadgroup -p no:cacheprovider --hypothesis-profile check \
        -m "$marks" --ignore tests/wire/test_fuzz.py \
        --deselect tests/wire/test_websocket.py::test_one_million_fuzzed_frames_raise_nothing \
        --deselect tests/wire/test_websocket.py::test_cost_is_linear \
        tests/test_requirements.py tests/wire tests/guard tests/socketio tests/engines tests/hub tests/bus
done
