"""Mirrors the tree; journeys go through sockets against real peers."""
