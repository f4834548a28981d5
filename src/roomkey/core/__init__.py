"""The pure core: no I/O, no framework, no event loop; time is an argument."""
