"""Procedural objects: a grammar of parts, their signed distance, and their pictures and layers."""
