"""The decoders that are to say the same."""

from __future__ import annotations

import importlib.util
import os

import pytest

from engine.piweb.decode import Decoder, decode
from engine.piweb.native import native_decoder

NATIVE: Decoder | None = None
if importlib.util.find_spec("osipi_native") is not None:
    import osipi_native

    NATIVE = native_decoder(osipi_native)

DECODERS: dict[str, Decoder] = {"python": decode} | ({"native": NATIVE} if NATIVE else {})
"""By name: `native` where osipi-connector-native is installed."""

needs_native = pytest.mark.skipif(
    NATIVE is None and os.environ.get("OSIPI_NATIVE") != "required",
    reason="osipi-connector-native is not installed: `make native` builds it (needs Rust)",
)
