"""The local controller: what stands between a site's charging stations, its meters and its backends.

Imports run downwards only (see tests/test_architecture.py):
floor 4 composes, floor 3 owns connections, floors 1 and 2 are sans-IO, floor 0 (`drivers`) is the
field hardware.
"""
