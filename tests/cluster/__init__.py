"""Pieces of work on a real Ray cluster, whose nodes are processes of this machine."""
