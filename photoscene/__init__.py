"""The roof: what a person touches. The command line, the run folder, inspection and the doctor."""

from scene.telemetry import refuse_telemetry

refuse_telemetry()
