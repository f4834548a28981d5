"""python-socketio's synchronous server, with PyJWT as its documentation shows it, or with the guard.

The environment chooses: ``GUARD`` is set for the guard; ``MODE`` is ``threading`` or ``gevent``; ``HANDLERS`` is set if
each event is handled in a thread or greenlet of its own, which is python-socketio's default.
"""

from __future__ import annotations

import logging
import os

MODE = os.environ["MODE"]
if MODE == "gevent":
    from gevent import monkey

    monkey.patch_all()

import jwt  # noqa: E402
import socketio  # noqa: E402

SECRET, PORT = os.environ["SECRET"], int(os.environ["PORT"])
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
sio = socketio.Server(async_mode=MODE, async_handlers=bool(os.environ["HANDLERS"]), cors_allowed_origins=[])


@sio.event
def message(sid, data):
    if isinstance(data, dict) and data.get("ack"):
        return data
    sio.emit("message", data)
    return None


if os.environ["GUARD"]:
    from roomkey import Verifier
    from roomkey.socketio import Guard

    Guard(Verifier.hs256(SECRET), max_anonymous=10_000, max_bad_tokens=10**9).attach(sio)
else:

    @sio.event
    def connect(sid, environ, auth):
        try:
            claims = jwt.decode(auth["token"], SECRET, algorithms=["HS256"])
        except jwt.PyJWTError:
            raise socketio.exceptions.ConnectionRefusedError("Authentication error") from None
        sio.save_session(sid, {"claims": claims})


app = socketio.WSGIApp(sio)
if MODE == "gevent":
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    WSGIServer(("127.0.0.1", PORT), app, handler_class=WebSocketHandler, log=None).serve_forever()
else:
    from werkzeug.serving import make_server

    make_server("127.0.0.1", PORT, app, threaded=True).serve_forever()
