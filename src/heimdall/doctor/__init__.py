"""What this machine lacks for the demo, said in seconds and before anything is installed.

Runs with Python 3.8 and no package, as `make` calls it: `python3 -m heimdall.doctor`. So it imports the
standard library, and of `core` and `storage` only modules that do the same (tests/doctor).
"""

__all__ = ["checks", "configured", "installed", "machine", "report"]
