"""The DAG: what each stage reads and makes, the order of the stages, and Prefect around it."""

from scene.telemetry import refuse_telemetry

refuse_telemetry()
