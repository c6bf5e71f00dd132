"""Tests of the converters room."""
