"""The pure core: no I/O, no framework, no event loop; time is an argument.

The page docs/internals/architecture.md lists the modules.
"""
