"""What all tests share: how many examples a property test tries, and a quick start for processes.

By default a quarter of what it deserves; `make test-slow` and CI try them all once more, with the profile
`thorough`. A test that asks for another number than the usual hundred says so with `tests.examples.examples`.
"""

from __future__ import annotations

import os

from hypothesis import settings

# How long an example takes is the affair of the machine, which may be busy with other things.
settings.register_profile("thorough", settings(deadline=None, max_examples=100))
settings.register_profile("default", settings(deadline=None, max_examples=25))
settings.load_profile("default")

# Compiling our modules again is half of what the start of a process takes; hundreds are started.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
