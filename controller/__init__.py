"""The local controller: relay, load management and dimming between stations, meters and backends.

Imports run downwards only. `docs/architecture.md` shows the layers of packages; `tests/test_architecture.py`
lists what each package may import.
"""
