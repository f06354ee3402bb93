"""Pure functions, one folder per stage and one file per backend."""

from scene.telemetry import refuse_telemetry

refuse_telemetry()
