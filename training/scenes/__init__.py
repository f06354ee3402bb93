"""Rendered rooms, table tops and streets with known depth, masks and cameras, to train on."""
