"""A chat on Flask-SocketIO: the login issues a token, the sockets require it, the logout disconnects them."""

import os
import secrets
import sys

from flask import Flask, request, send_from_directory
from flask_socketio import SocketIO, emit, join_room
from werkzeug.security import check_password_hash, generate_password_hash

from roomkey import Issuer, Key, Policy
from roomkey.flask import RoomKey, current_identity, requires
from roomkey.policies import rooms_claim

SECRET = os.environ.get("ROOMKEY_SECRET") or sys.exit("ROOMKEY_SECRET is not set: see README.md")
USERS = {"ada": (generate_password_hash("correct horse"), ["red"]), "bob": (generate_password_hash("battery"), [])}
NOBODY = (generate_password_hash(secrets.token_urlsafe()), [])  # unknown names take as long as wrong passwords

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading")
issuer = Issuer(Key.from_secret(SECRET), audience="chat", expires_in=3600)
policy = Policy()
policy.room("*")(rooms_claim)  # the rooms that the token names; every room for the role admin
roomkey = RoomKey(app, socketio, issuer.verifier(), policy=policy)


@app.get("/")
def page():
    return send_from_directory(app.root_path, "client.html")


@app.post("/login")
def login():
    name, password = request.json["username"], request.json["password"]
    hashed, rooms = user = USERS.get(name, NOBODY)
    if not check_password_hash(hashed, password) or user is NOBODY:
        return {"error": "wrong username or password"}, 401
    return {"token": issuer.issue(name, rooms=rooms, session_id=secrets.token_urlsafe(16))}


@app.post("/logout")
@requires()
def logout():
    return {"disconnected": roomkey.guard.revoke(session_id=current_identity.session_id)}


@socketio.on("join")
def join(room):
    join_room(room)  # only if the policy allows it
    return {"ok": True}


@socketio.on("message")
def message(room, text):
    roomkey.guard.check_emit(request.sid, room, "message")  # only if the client is in the room
    emit("message", {"from": current_identity.subject, "text": text}, to=room)


if __name__ == "__main__":
    socketio.run(app, port=int(os.environ.get("PORT", "5000")), allow_unsafe_werkzeug=True)
