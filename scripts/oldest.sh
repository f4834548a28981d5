#!/bin/sh
# Run the tests of the clients and of the guard on the oldest versions of python-socketio that they support.
set -eu
# Not included: a reconnection that waits for a poll, which the oldest server leaves open until its next ping.
folder=.venv-oldest-client
PYTHON=.venv/bin/python sh scripts/venv.sh $folder requirements/dev.txt requirements/oldest-client.txt
$folder/bin/python -m pytest -q -n auto -p no:cacheprovider -k "not connect_again_immediately" tests/client

folder=.venv-oldest
PYTHON=.venv/bin/python sh scripts/venv.sh $folder requirements/dev.txt requirements/oldest.txt
# Not included: the hub and the tests of roomkey.guard alone, neither of which depends on python-socketio; tests that
# compare the methods of the two servers, which match only for the newest version; a test of an empty attachment, which
# fails with the oldest; a serializer that replaces a method of newer versions; and 250 rounds of races.
$folder/bin/python -m pytest -q -n auto -p no:cacheprovider --hypothesis-profile check -k "not hub and not OnHub and not receives_and_acknowledges_bytes and not keeps_what_it_changes and not 250" tests/socketio tests/engines \
    --ignore tests/engines/test_connect_and_disconnect.py --ignore tests/engines/test_handlers.py \
    --ignore tests/engines/test_sessions.py --ignore tests/engines/test_verbs.py \
    tests/guard/test_live_stateful.py tests/guard/test_quarantine_stateful.py tests/guard/test_settings.py \
    tests/guard/test_threads.py tests/security/test_c_handshake.py tests/security/test_found_by_review.py \
    tests/security/test_found_in_transport.py

# Not included: Flask-SocketIO, whose newest version requires a newer python-socketio.
exec $folder/bin/python -m pytest -q -n auto -p no:cacheprovider -m "not long" -k "socketio-threading or python-socketio" tests/hosts
