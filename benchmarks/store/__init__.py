"""What a store at a URL costs and survives: `PYTHONPATH=tests python -m benchmarks.store`."""
