"""The frozen values and pure rules."""
