"""Decides, remembers, schedules: composition root, settings, engine, stores, command line."""
