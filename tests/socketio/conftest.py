from support.world import clock, make_world

__all__ = ["clock", "make_world"]
