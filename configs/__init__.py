"""Profiles that ship with photoscene; read by flows/profile.py."""
