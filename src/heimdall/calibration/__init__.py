"""What receivers add of their own, measured by known transmitters: delays, filter responses.

Imports `network`, `metrics`, and what they import.
"""

__all__ = ["receiver_errors", "receivers_text"]
