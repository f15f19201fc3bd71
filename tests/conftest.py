"""Property tests use the same examples on every machine, and fewer of them in `make test-fast`."""

from hypothesis import settings

from tests.examples import IS_FAST, examples

settings.register_profile("full", derandomize=True, deadline=None)
settings.register_profile("fast", derandomize=True, deadline=None, max_examples=examples(100))
settings.load_profile("fast" if IS_FAST else "full")
