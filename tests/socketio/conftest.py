from support.world import clock, engine, make_world

__all__ = ["clock", "engine", "make_world"]
