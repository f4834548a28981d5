"""Everything that depends on uvicorn's private interface; :mod:`.checks` lists that interface and checks it."""
