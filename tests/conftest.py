"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is the affair of the machine, which may be busy with other things.
settings.register_profile("patient", settings(deadline=None))
settings.load_profile("patient")
