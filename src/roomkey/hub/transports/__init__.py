"""The transports of an Engine.IO session: long-polling, WebSockets, and WebSockets of an ASGI server."""
