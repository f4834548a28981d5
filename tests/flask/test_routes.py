"""Routes: where their tokens come from, what ``requires`` checks, and how errors are answered."""

from __future__ import annotations

import json
import logging

import pytest
from flask import Blueprint, copy_current_request_context
from flask.views import MethodView
from support.decorators import WRAPPERS
from werkzeug.exceptions import HTTPException

from roomkey import PermissionDenied
from roomkey.errors import AuthError, ConfigError, ReauthenticationRequired
from roomkey.flask import Authenticate, Handshake, current_identity, requires

CHALLENGE = 'Bearer realm="roomkey"'


def add_routes(app):
    @app.get("/who")
    def who():
        return {"subject": current_identity.subject, "source": current_identity.source}

    @app.post("/who")
    @requires()
    def post():
        return {"subject": current_identity.subject, "source": current_identity.source}

    @app.get("/admin")
    @requires(role="admin")
    def admin():
        return "welcome"

    @app.get("/messages")
    @requires(scope="read write")
    def messages():
        return "messages"

    @app.get("/pay")
    @requires(max_auth_age=300)
    def pay():
        return "paid"


@pytest.fixture
def protected(site):
    made = site()
    add_routes(made.app)
    return made


def test_route_knows_the_user_of_the_token(protected):
    answer = protected.http.get("/who", headers=protected.bearer())
    assert (answer.status_code, answer.json) == (200, {"subject": "ada", "source": "header"})


@pytest.mark.parametrize("path", ["/who", "/admin", "/messages", "/pay"])
@pytest.mark.parametrize("header", [None, "", "Basic YWRhOng="])
def test_route_without_a_token_responds_with_401(protected, path, header):
    answer = protected.http.get(path, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert answer.json.keys() == {"error", "error_description"}


@pytest.mark.parametrize("header", ["Bearer a.b.c", "Bearer", "Bearer a b", "Bearer a.b.c, Bearer a.b.c"])
def test_route_rejects_an_invalid_token(protected, header):
    answer = protected.http.get("/who", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'
    assert answer.json["error"] == "invalid_token"


def test_route_rejects_two_authorization_headers(protected):
    token = f"Bearer {protected.token()}"
    answer = protected.http.get("/who", headers=[("Authorization", token), ("Authorization", token)])
    assert answer.status_code == 401


def test_route_rejects_expired_and_revoked_tokens(protected):
    headers = protected.bearer(token_id="t1", expires_in=60)
    assert protected.http.get("/who", headers=headers).status_code == 200
    protected.roomkey.guard.revoke(token_id="t1")
    answer = protected.http.get("/who", headers=headers)
    assert (answer.status_code, answer.json["error_description"]) == (401, "jwt revoked")
    late = protected.bearer(expires_in=60)
    protected.clock.advance(120)
    answer = protected.http.get("/who", headers=late)
    assert (answer.status_code, answer.json["error_description"]) == (401, "jwt expired")


def test_requires_checks_roles_and_scopes(protected):
    assert protected.http.get("/admin", headers=protected.bearer(roles=["admin"])).status_code == 200
    answer = protected.http.get("/admin", headers=protected.bearer(roles=["member"]))
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")
    assert protected.http.get("/messages", headers=protected.bearer(scopes=["read", "write"])).status_code == 200
    answer = protected.http.get("/messages", headers=protected.bearer(scopes=["read"]))
    assert answer.status_code == 403
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope", scope="read write"'


def test_requires_asks_for_a_recent_login(protected):
    now = protected.clock.now()
    recent, old = (protected.bearer(claims={"auth_time": now - age}) for age in (100, 400))
    assert protected.http.get("/pay", headers=recent).status_code == 200
    answer = protected.http.get("/pay", headers=old)
    assert answer.status_code == 401
    assert 'error="insufficient_user_authentication", max_age="300"' in answer.headers["WWW-Authenticate"]


def test_denied_route_is_in_the_audit_log(protected, caplog):
    with caplog.at_level(logging.INFO, "roomkey.audit"):
        protected.http.get("/admin", headers=protected.bearer(token_id="t1"))
    [line] = [json.loads(entry.message) for entry in caplog.records if entry.name == "roomkey.audit"]
    assert line == {
        "event": "denied",
        "kind": "route",
        "name": "admin",
        "reason": "permission_denied",
        "sub": "ada",
        "token": "t1",
    }


def test_token_is_verified_once_for_a_request(site):
    class Counting:
        calls = 0

        def verify(self, token, now, *, source=""):
            self.calls += 1
            return made.issuer.verifier().verify(token, now, source=source)

    verifier = Counting()
    made = site(verifier=verifier)

    @made.app.get("/who")
    @requires()
    def who():
        return {"subjects": [current_identity.subject, current_identity.subject]}

    assert made.http.get("/who", headers=made.bearer()).json == {"subjects": ["ada", "ada"]}
    assert verifier.calls == 1


def test_requests_of_one_application_context_have_their_own_users(protected):
    with protected.app.app_context():
        for subject in ("ada", "bob"):
            assert protected.http.get("/who", headers=protected.bearer(subject)).json["subject"] == subject
        assert protected.http.get("/who").status_code == 401


def test_another_thread_with_the_request_has_its_user(protected):
    from concurrent.futures import ThreadPoolExecutor

    @protected.app.get("/thread")
    def thread():
        with ThreadPoolExecutor() as pool:
            return pool.submit(copy_current_request_context(lambda: current_identity.subject)).result()

    assert protected.http.get("/thread", headers=protected.bearer()).text == "ada"


def test_current_identity_outside_of_a_request_says_what_it_requires(protected):
    with pytest.raises(RuntimeError, match=r"requires a Socket\.IO handler or a request"):
        _ = current_identity.subject
    with protected.app.app_context(), pytest.raises(RuntimeError, match=r"requires a Socket\.IO handler"):
        _ = current_identity.subject


def test_identity_of_an_unprotected_application_is_an_error(site):
    from flask import Flask

    with Flask("other").test_request_context(), pytest.raises(ConfigError, match="has no RoomKey"):
        _ = current_identity.subject


def test_guests_can_use_routes_that_require_nobody(site):
    made = site(required=False)
    add_routes(made.app)

    @made.app.get("/guest")
    def guest():
        return {"guest": current_identity.is_guest}

    assert made.http.get("/guest").json == {"guest": True}
    assert made.http.get("/guest", headers=made.bearer()).json == {"guest": False}
    assert made.http.get("/guest", headers={"Authorization": "Bearer a.b.c"}).status_code == 401
    assert made.http.post("/who").status_code == 401
    assert made.http.get("/admin").status_code == 401


def test_header_is_accepted_whatever_sockets_use(site):
    for via in (Authenticate(), Handshake(header=False), Handshake(auth=False, query="token")):
        made = site(via=via)
        add_routes(made.app)
        assert made.http.get("/who", headers=made.bearer()).status_code == 200


def test_header_of_another_name_is_accepted(site):
    made = site(via=Handshake(header="X-Token"))
    add_routes(made.app)
    assert made.http.get("/who", headers={"X-Token": made.token()}).json == {"subject": "ada", "source": "header"}
    assert made.http.get("/who", headers=made.bearer()).status_code == 401


def test_query_is_a_source_only_if_the_guard_has_it(site):
    for via, status in ((Handshake(), 401), (Handshake(query="token"), 200)):
        made = site(via=via)
        add_routes(made.app)
        assert made.http.get("/who", query_string={"token": made.token()}).status_code == status


OWN, LISTED, OTHER = "http://localhost", "https://app.example", "https://evil.example"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": OWN}, 200),
        ({"Origin": LISTED}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": OTHER}, 401),
        ({"Origin": OTHER, "Sec-Fetch-Site": "same-origin"}, 401),
        ({"Origin": "null"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "same-site"}, 401),
        ({}, 401),
    ],
)
def test_cookie_counts_only_from_an_allowed_page(site, headers, status):
    made = site(via=Handshake(cookie="session_token"), socketio={"cors_allowed_origins": [OWN, LISTED]})
    add_routes(made.app)
    cookie = {"Cookie": f"session_token={made.token()}"}
    http = made.app.test_client(use_cookies=False)  # which would replace the header
    assert http.post("/who", headers=cookie | headers).status_code == status


def test_header_is_preferred_to_the_cookie(site):
    made = site(via=Handshake(cookie="session_token"), socketio={"cors_allowed_origins": [OWN]})
    add_routes(made.app)
    headers = {"Cookie": f"session_token={made.token()}", "Origin": OWN} | made.bearer("bob")
    http = made.app.test_client(use_cookies=False)
    assert http.post("/who", headers=headers).json == {"subject": "bob", "source": "header"}


def test_application_handles_errors_by_class(protected):
    @protected.app.errorhandler(PermissionDenied)
    def denied(error):
        return {"mine": error.reason}, 418

    answer = protected.http.get("/admin", headers=protected.bearer())
    assert (answer.status_code, answer.json) == (418, {"mine": "permission_denied"})
    assert protected.http.get("/admin").status_code == 401


def test_application_handles_errors_by_status(protected):
    @protected.app.errorhandler(401)
    def login(error):
        return (
            f"log in: {error.description}",
            401,
            {"WWW-Authenticate": error.get_response().headers["WWW-Authenticate"]},
        )

    answer = protected.http.get("/who")
    assert answer.text.startswith("log in: ")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert protected.http.get("/admin", headers=protected.bearer()).json["error"] == "insufficient_scope"


def test_application_handles_all_http_errors(protected):
    protected.app.register_error_handler(HTTPException, lambda error: (f"{error.code}", error.code))
    assert protected.http.get("/who").text == "401"


@pytest.mark.parametrize("before", [True, False])
def test_handler_of_all_auth_errors_is_kept(site, before):
    from flask import Flask
    from flask_socketio import SocketIO

    from roomkey.flask import RoomKey

    made = site()
    app = Flask("other")
    roomkey = RoomKey(made.issuer.verifier(), clock=made.clock)
    socketio = SocketIO(app, async_mode="threading")
    if not before:
        roomkey.init_app(app, socketio)
    app.register_error_handler(AuthError, lambda error: ("mine", 499))
    if before:
        roomkey.init_app(app, socketio)
    add_routes(app)
    assert app.test_client().get("/who").status_code == 499
    roomkey.guard.close()


def test_view_can_raise_auth_errors(protected):
    @protected.app.get("/raise")
    def fail():
        raise ReauthenticationRequired(60)

    assert protected.http.get("/raise").status_code == 401


def test_unavailable_is_503_with_retry_after(site):
    from roomkey.errors import Unavailable

    class Broken:
        def verify(self, token, now, *, source=""):
            raise Unavailable("no keys")

    made = site(verifier=Broken())
    add_routes(made.app)
    answer = made.http.get("/who", headers={"Authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_requires_works_in_blueprints_and_class_based_views(protected):
    pages = Blueprint("pages", __name__)

    @pages.get("/page")
    @requires(role="admin")
    def page():
        return "page"

    class Item(MethodView):
        decorators = (requires(),)

        def get(self, number):
            return f"item {number}"

        @requires(role="admin")
        def delete(self, number):
            return f"deleted {number}"

    protected.app.register_blueprint(pages)
    protected.app.add_url_rule("/item/<int:number>", view_func=Item.as_view("item"))
    ada, boss = protected.bearer(), protected.bearer(roles=["admin"])
    assert [protected.http.get("/page", headers=who).status_code for who in ({}, ada, boss)] == [401, 403, 200]
    assert [protected.http.get("/item/1", headers=who).status_code for who in ({}, ada)] == [401, 200]
    assert [protected.http.delete("/item/1", headers=who).status_code for who in (ada, boss)] == [403, 200]


def test_requires_above_the_route_fails_closed(protected):
    @requires(role="admin")
    @protected.app.get("/wrong")
    def wrong():
        return "open to everybody"

    protected.app.testing = True
    with pytest.raises(ConfigError, match="wrong would run without its @requires"):
        protected.http.get("/wrong", headers=protected.bearer(roles=["admin"]))
    protected.app.testing = False
    assert protected.http.get("/wrong").status_code == 500


@pytest.mark.parametrize("between", WRAPPERS)
def test_requires_above_a_decorator_above_the_route_fails_closed(protected, between):
    @requires(role="admin")
    @between
    @protected.app.get("/wrong")
    def wrong():
        return "open to everybody"

    assert protected.http.get("/wrong").status_code == 500


@pytest.mark.parametrize("between", WRAPPERS)
def test_route_with_requires_among_other_decorators_is_checked(protected, between):
    @requires(role="admin")
    @between
    def right():
        return "done"

    protected.app.add_url_rule("/right", view_func=between(right), endpoint="right")
    assert protected.http.get("/right", headers=protected.bearer()).status_code == 403
    assert protected.http.get("/right", headers=protected.bearer(roles=["admin"])).status_code == 200


def test_requires_rejects_wrong_arguments():
    for arguments in ({"role": ""}, {"role": 1}, {"scope": " "}, {"max_auth_age": 0}, {"max_auth_age": True}):
        with pytest.raises(ConfigError):
            requires(**arguments)
    for wrong in (lambda: None, "admin"):
        with pytest.raises(ConfigError, match=r"use @requires\(\)"):
            requires(wrong)


def test_requires_keeps_name_and_document(protected):
    def view():
        """Say hello."""

    checked = requires()(view)
    assert (checked.__name__, checked.__doc__) == ("view", "Say hello.")
    with pytest.raises(RuntimeError, match="works only in"):
        checked()


def test_session_of_flask_is_untouched(protected):
    from flask import session

    @protected.app.get("/count")
    def count():
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    http = protected.http
    assert [http.get("/count").text for _ in range(2)] == ["1", "2"]
