"""Files of other programs (KiwiSDR WAV) as recordings; a new format is a module here.

Imports `core` and `recordings`.
"""

__all__ = ["kiwi"]
