"""The parts that all hosts share: connected sockets, decisions about packets, and the end of sockets.

The page docs/internals/architecture.md lists the modules.
"""
