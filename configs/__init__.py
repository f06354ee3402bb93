"""Profiles that ship with photoscene; read by scene/profile.py."""
