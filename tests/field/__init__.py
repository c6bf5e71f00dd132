"""Tests over real data."""
