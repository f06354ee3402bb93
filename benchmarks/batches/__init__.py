"""Batches measured: scaling, equality of all ways to run one, kills, faults, and what a scene costs
beside its steps."""
