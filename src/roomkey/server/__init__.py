"""The server of ``roomkey serve``: settings, the ASGI application and its page.

This package is internal. Its interfaces are the command line, ``roomkey.toml`` and the HTTP routes.
"""
