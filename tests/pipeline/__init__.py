"""The commands that users type, run on real servers."""
