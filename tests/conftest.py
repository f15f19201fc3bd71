"""The same examples on every machine: a property that fails does so for everybody, today and tomorrow."""

from hypothesis import settings

settings.register_profile("same-everywhere", derandomize=True, deadline=None)
settings.load_profile("same-everywhere")
