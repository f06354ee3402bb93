"""No library that photoscene uses may report to its maker, nor leave files for such reports."""

from __future__ import annotations

import os

# The libraries look at these once, when they are imported; there is no other switch that turns all
# of it off. ONNX Runtime's own function comes too late: its import has written a device's number
# into ~/.cache/Microsoft and a session's file into TMPDIR by then (its Privacy.md).
SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and through it transformers and diffusers
    "RAY_USAGE_STATS_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",  # the common one, https://donottrack.sh
}


def refuse_telemetry() -> None:
    """Turn telemetry off in this process and in all that it starts; what a user set stays.

    A package that imports such libraries calls this in its `__init__.py`, so that it happens first
    whichever way photoscene is entered.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
