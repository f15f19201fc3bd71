"""Property tests use the same examples on every machine, and fewer of them in `make test-fast`."""

import os

from hypothesis import settings

settings.register_profile("full", derandomize=True, deadline=None)
settings.register_profile("fast", derandomize=True, deadline=None, max_examples=10)
settings.load_profile("fast" if os.environ.get("TEST_FAST") else "full")
