"""Lines of the audit log about sockets."""

from __future__ import annotations

import logging

from roomkey.audit import LOG, record, redact, token_name
from roomkey.core.admission import Admission
from roomkey.errors import AuthError, ClaimError


def about(event: str, admission: Admission, *, level: int = logging.INFO, **facts: object) -> None:
    """Write one line about a socket: its namespace, subject and token's name come with it."""
    if not LOG.isEnabledFor(level):  # most lines are not wanted, and cost nothing then
        return
    who = admission.identity
    record(
        event,
        level=level,
        namespace=admission.namespace,
        sub=who.subject if who is not None else None,
        token=token_name(who),
        **facts,
    )


def refused(error: AuthError, address: str, admission: Admission | None = None, token: str | None = None) -> None:
    """Write one line about a refusal: which check failed, with what the client is not told."""
    who = admission.identity if admission is not None else None
    record(
        "refused",
        level=logging.WARNING,
        code=error.code,
        reason=error.reason,
        claim=error.claim if isinstance(error, ClaimError) else None,
        check=redact(str(error)),
        namespace=admission.namespace if admission is not None else None,
        sub=who.subject if who is not None else None,
        token=token_name(who, token),
        address=address,
    )
