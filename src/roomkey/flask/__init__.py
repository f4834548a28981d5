"""The guard for Flask-SocketIO: one verifier for its sockets and for the routes of the Flask application.

::

    app = Flask(__name__)
    socketio = SocketIO(app)
    roomkey = RoomKey(app, socketio, Verifier.hs256(SECRET, audience="chat"))

    @socketio.on("close room")
    @requires(role="moderator")
    def close(room):
        print(current_identity.subject)

    @app.get("/profile")
    @requires()
    def profile():
        return {"user": current_identity.subject}
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("flask", "roomkey.flask"):
    import flask as _flask  # noqa: F401
    import flask_socketio as _flask_socketio  # noqa: F401

from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.subject_limits import SubjectLimits
from roomkey.flask.extension import RoomKey
from roomkey.flask.identity import current_identity
from roomkey.flask.requirements import requires

__all__ = ["Authenticate", "Handshake", "RoomKey", "SubjectLimits", "current_identity", "requires"]
