"""The bodies of the admin API's requests and responses, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from roomkey.extras import needs

with needs("server", "roomkey.server.api_models"):
    from pydantic import BaseModel, ConfigDict, Field

from roomkey.core.issuer import MAX_TOKEN_LIFETIME

NameList = Annotated[list[str], Field(max_length=1000)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserEntry(BaseModel):
    """An account, without its password."""

    model_config = ConfigDict(from_attributes=True)

    username: str
    name: str
    roles: list[str]
    rooms: list[str]
    disabled: bool
    created_at: int


class UserList(BaseModel):
    """All accounts, sorted by name."""

    users: list[UserEntry]


class NewUser(_Request):
    """An account to add."""

    username: str
    password: str = Field(json_schema_extra={"format": "password"})
    name: str = ""
    roles: NameList = []
    rooms: NameList = []


class UserChanges(_Request):
    """The changes of an account. Omitted properties stay as they are."""

    roles: NameList | None = None
    rooms: NameList | None = None
    disabled: bool | None = None
    password: str | None = Field(None, json_schema_extra={"format": "password"})


class RevocationRequest(_Request):
    """A revocation, by exactly one of token_id, session_id and subject."""

    token_id: str | None = Field(None, min_length=1)
    session_id: str | None = Field(None, min_length=1)
    subject: str | None = Field(None, min_length=1)
    issued_before: float | None = Field(None, description="with subject: seconds since the epoch, not in the future")
    expires_at: float | None = Field(
        None,
        description="the latest exp of these tokens, in seconds since the epoch; the revocation is kept until then. "
        f"By default, it is kept for {MAX_TOKEN_LIFETIME // 86400} days, so set it for tokens with a longer lifetime.",
    )


class EmitRequest(_Request):
    """An event for all sockets in a room."""

    room: str = Field(min_length=1)
    event: str = Field(min_length=1)
    data: Any = None
    namespace: str = "/"


class SocketCount(BaseModel):
    """The number of connected sockets that were affected, on the node that responds. The others follow it."""

    sockets: int


class SocketEntry(BaseModel):
    """A connected socket."""

    id: str = Field(description="identifies the socket in this API; it is not a credential")
    subject: str
    namespace: str
    rooms: list[str]
    address: str
    node: str | None = Field(None, description="with several nodes: the one that it is connected to")
    session_id: str | None = None
    expires_at: float | None = None


class _Found(BaseModel):
    complete: bool = Field(description="false if a node did not answer, so that its sockets are missing")
    missing: list[str] = Field(description="the nodes that did not answer in time")


class SocketList(_Found):
    """Connected sockets, of all nodes."""

    sockets: list[SocketEntry]


class RoomEntry(BaseModel):
    """A room that sockets have joined under the policy."""

    namespace: str
    room: str
    sockets: int


class RoomList(_Found):
    """Rooms that are not empty, on all nodes."""

    rooms: list[RoomEntry]


class Done(BaseModel):
    """The request succeeded."""

    status: Literal["ok"] = "ok"
