"""A hub."""

from __future__ import annotations

from typing import Any, assert_type

from roomkey import Identity, PermissionDenied, Verifier
from roomkey.hub import ASGIApp, Hub, Limits, Namespace

hub = Hub(Verifier.hs256("secret", audience="chat"), cors_allowed_origins=["https://app.example"], limits=Limits())
hub.guard.serve_rooms()
Hub()  # type: ignore[call-arg]
Hub(Verifier.hs256("secret"), ping_every=5)  # type: ignore[call-arg]
Hub(Verifier.hs256("secret"), grace="10")  # type: ignore[arg-type]


@hub.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    assert_type(hub.guard.identity(sid), Identity)


@hub.event
async def message(sid: str, room: str, text: str) -> str:
    if room not in hub.rooms(sid):
        raise PermissionDenied("not in this room")
    await hub.emit("message", text, room=room)
    await hub.emit("notice", text, to_subject="ada")
    hub.emit("message", text)  # type: ignore[unused-coroutine]
    await hub.emit(7)  # type: ignore[arg-type]
    return "delivered"


@hub.on("*")
def other(event: str, sid: str, *arguments: Any) -> object:
    return hub.not_handled


class Admin(Namespace):
    async def on_ban(self, sid: str, subject: str) -> int:
        return await self.hub.guard.revoke(subject=subject)


hub.register_namespace(Admin("/admin"))
hub.register_namespace("/admin")  # type: ignore[arg-type]


async def tell(text: str) -> None:
    answer = await hub.call("question", text, to="sid", timeout=5)
    print(answer)
    assert_type(hub.transport("sid"), str)


asgi = ASGIApp(hub)

if __name__ == "__main__":
    hub.run(port=8000)
    hub.run(port="8000")  # type: ignore[arg-type]
