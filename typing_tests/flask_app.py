"""A Flask application with guarded sockets and routes."""

from __future__ import annotations

from typing import assert_type

from flask import Flask, request
from flask_socketio import SocketIO, emit

from roomkey import Identity, Policy, Verifier
from roomkey.flask import Handshake, RoomKey, current_identity, requires
from roomkey.socketio import Guard

app = Flask(__name__)
socketio = SocketIO(app)
roomkey = RoomKey(app, socketio, Verifier.hs256("secret", audience="chat"), policy=Policy(), via=Handshake())
later = RoomKey(Verifier.hs256("secret", audience="chat"), grace=10, required=False)
later.init_app(app, socketio)
RoomKey(app, socketio, Verifier.hs256("secret"), grace="10")  # type: ignore[call-overload]
RoomKey(app, Verifier.hs256("secret"))  # type: ignore[call-overload]
assert_type(roomkey.guard, Guard)


@app.get("/profile")
@requires(role="editor", scope=["news"], max_auth_age=300)
def profile() -> dict[str, str]:
    return {"user": current_identity.subject}


@app.post("/logout")
@requires()
def logout() -> dict[str, int]:
    return {"sockets": roomkey.guard.revoke(session_id=current_identity.session_id)}


@requires(role=("moderator", "admin"))
def announce(text: str) -> None:
    assert_type(current_identity.roles, frozenset[str])
    emit("announcement", text, broadcast=True)


requires(roles="editor")  # type: ignore[call-arg]


def join(room: str) -> None:
    sid: str = getattr(request, "sid")  # noqa: B009 - Flask-SocketIO adds it, and flask's types do not have it
    assert_type(roomkey.guard.identity(sid), Identity)
    roomkey.guard.enter_room(sid, room)
