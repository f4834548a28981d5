"""Lines of the audit log about sockets."""

from __future__ import annotations

import logging
from typing import Protocol

from roomkey.audit import LOG, record, redact, token_name
from roomkey.core.identity import Identity
from roomkey.errors import AuthError, ClaimError


class AuditedSocket(Protocol):
    """The attributes of a socket that the log shows."""

    namespace: str
    identity: Identity | None


def about(event: str, socket: AuditedSocket, *, level: int = logging.INFO, **facts: object) -> None:
    """Write a line about a socket, with its namespace, its subject and the name of its token."""
    if not LOG.isEnabledFor(level):  # most lines are not wanted, and cost nothing then
        return
    who = socket.identity
    record(
        event,
        level=level,
        namespace=socket.namespace,
        sub=who.subject if who is not None else None,
        token=token_name(who),
        **facts,
    )


def refused(error: AuthError, address: str, socket: AuditedSocket | None = None, token: str | None = None) -> None:
    """Write a line about a refusal: the check that failed, with details that the client does not receive."""
    who = socket.identity if socket is not None else None
    record(
        "refused",
        level=logging.WARNING,
        code=error.code,
        reason=error.reason,
        claim=error.claim if isinstance(error, ClaimError) else None,
        check=redact(str(error)),
        namespace=socket.namespace if socket is not None else None,
        sub=who.subject if who is not None else None,
        token=token_name(who, token),
        address=address,
    )
