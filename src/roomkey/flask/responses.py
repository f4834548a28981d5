"""The responses of routes to clients without a valid token or without the right (RFC 6750)."""

from __future__ import annotations

from flask import Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, default_exceptions

from roomkey.core.http_tokens import error_response
from roomkey.errors import AuthError


def handle_errors(app: Flask) -> None:
    """Let routes raise an :class:`AuthError`, if the application does not handle this class of errors itself."""
    if AuthError not in app.error_handler_spec[None][None]:
        app.register_error_handler(AuthError, _respond)


def _respond(error: AuthError) -> HTTPException | ResponseReturnValue:
    """Return the response, or that of the application's own handler for its status."""
    told = error_response(error, getattr(request, "roomkey_requirement", None))
    response = jsonify(told.body)
    response.status_code = told.status
    response.headers.extend(told.headers)
    return current_app.handle_http_exception(default_exceptions[told.status](told.description, response))
