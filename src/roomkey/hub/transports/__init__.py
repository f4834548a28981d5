"""The transports of an Engine.IO session: long-polling, WebSockets on picows, and WebSockets of an ASGI server."""
