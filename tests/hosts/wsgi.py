"""A process with a WSGI server, which runs one application after the other: ``python -m hosts.wsgi KIND SERVER``.

The servers are ``threading``, ``gevent``, ``gevent-unpatched``, ``eventlet``, and the keys of :data:`GUNICORN`.

Tests tell it what to do with POST requests to ``/control``: a process for each test would take seconds. It ends with
its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

GUNICORN = {
    "gunicorn-gthread": ["--worker-class=gthread", "--threads=64"],
    "gunicorn-gevent": ["--worker-class=gevent"],
    "gunicorn-geventwebsocket": ["--worker-class=geventwebsocket.gunicorn.workers.GeventWebSocketWorker"],
}


class Sites:
    """The WSGI application: sites, the newest of which receives new connections."""

    def __init__(self, kind: str, async_mode: str) -> None:
        self._kind, self._async_mode = kind, async_mode
        self._sites: dict[int, Any] = {}
        self._newest: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/control":
            [sid] = parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])
            owner = next((site for site in self._sites.values() if sid in site.sio.eio.sockets), self._newest)
            return owner.wsgi(environ, start_response)
        command = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        answer = json.dumps(self._do(**command)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]

    def _do(self, verb: str, site: int = 0, **arguments: Any) -> Any:
        if verb == "start":
            from hosts.host import Options
            from hosts.sites import site_class

            self._newest = site_class(self._kind)(Options(**arguments), self._async_mode)
            number = len(self._sites) + 1
            self._sites[number] = self._newest
            return number
        return getattr(self._sites[site], verb)(**arguments)


def end_with_input() -> None:
    """End this process when its standard input ends, whatever happened to the tests."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def run_gunicorn(kind: str, server: str) -> None:
    from gunicorn.app.wsgiapp import run

    os.environ |= {
        "HOSTS_SERVER": server,
        "HOSTS_KIND": kind,
        "HOSTS_ASYNC_MODE": "threading" if server == "gunicorn-gthread" else "gevent",
    }
    sys.argv = [
        "gunicorn",
        "--workers=1",
        "--bind=127.0.0.1:0",
        "--graceful-timeout=1",
        *GUNICORN[server],
        "hosts.wsgi:app()",
    ]
    run()


def app() -> Sites:
    """Return the application of a worker of gunicorn."""
    if os.environ["HOSTS_SERVER"] == "gunicorn-gevent":
        sys.modules["geventwebsocket"] = None  # type: ignore[assignment]  # engineio then uses simple-websocket
    return Sites(os.environ["HOSTS_KIND"], os.environ["HOSTS_ASYNC_MODE"])


def run_threading(sites: Sites) -> None:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, sites, threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(0.05)


def run_gevent(sites: Sites) -> None:
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    server = WSGIServer(("127.0.0.1", 0), sites, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def run_eventlet(sites: Sites) -> None:
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    eventlet.wsgi.server(listener, sites, log_output=False)


def main(kind: str, server: str) -> None:
    end_with_input()
    if server in GUNICORN:
        run_gunicorn(kind, server)
    elif server == "threading":
        run_threading(Sites(kind, "threading"))
    elif server == "eventlet":
        import eventlet

        eventlet.monkey_patch()
        run_eventlet(Sites(kind, "eventlet"))
    else:
        if server == "gevent":
            from gevent import monkey

            monkey.patch_all()
        run_gevent(Sites(kind, "gevent"))


if __name__ == "__main__":
    main(*sys.argv[1:])
