#!/bin/sh
# Run the guard's tests on the oldest python-socketio that roomkey supports.
set -eu
folder=.venv-oldest
PYTHON=.venv/bin/python sh scripts/venv.sh $folder requirements/dev.txt requirements/oldest.txt
# Not included: the hub, which does not depend on python-socketio; tests that compare the methods of the two servers,
# which match only for the newest version; and a test of an empty attachment, which fails with the oldest.
exec $folder/bin/python -m pytest -q -n auto -p no:cacheprovider -k "not hub and not OnHub and not receives_and_acknowledges_bytes" tests/socketio tests/engines \
    --ignore tests/engines/test_connect_and_disconnect.py --ignore tests/engines/test_handlers.py \
    --ignore tests/engines/test_sessions.py --ignore tests/engines/test_verbs.py \
    tests/guard tests/security/test_c_handshake.py tests/security/test_found_by_review.py \
    tests/security/test_found_in_transport.py
