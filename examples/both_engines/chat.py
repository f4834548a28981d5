"""A small chat. Its handlers run on python-socketio and on the hub, which have the same methods."""

from roomkey import PermissionDenied, Policy
from roomkey.policies import rooms_claim

policy = Policy()
policy.room("*")(rooms_claim)  # the rooms that the token names; every room for the role admin


def build(server, guard):
    """Add the chat to a server.

    Args:
        server: a ``socketio.AsyncServer`` with a guard, or a ``roomkey.hub.Hub``.
        guard: the ``AsyncGuard`` of the one, or ``hub.guard`` of the other.
    """
    guard.serve_rooms()  # clients can send join-room and leave-room

    @server.event
    async def connect(sid, environ, auth):
        who = guard.identity(sid)
        await server.save_session(sid, {"name": who.subject, "sent": 0})
        await server.emit("welcome", who.subject, to=sid)

    @server.event
    async def message(sid, room, text):
        if room not in server.rooms(sid):
            raise PermissionDenied("not in this room")  # the guard responds to the client
        async with server.session(sid) as session:
            session["sent"] += 1
        await server.emit("message", {"from": session["name"], "text": text}, room=room, skip_sid=sid)
        return session["sent"]  # the client's acknowledgement

    @server.event
    async def disconnect(sid, reason):
        session = await server.get_session(sid)
        await server.emit("left", session["name"], room=server.rooms(sid), skip_sid=sid)
