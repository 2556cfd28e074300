"""One HTML page that is complete in itself: its sentences, tables, charts and maps, without any request.

Imports `maps`, `geometry` and `core`.
"""

__all__ = ["chart", "elements", "frame", "page", "picture", "style", "vector_map"]
