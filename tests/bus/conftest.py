from support.nodes import make_nodes

__all__ = ["make_nodes"]
