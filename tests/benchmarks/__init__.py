"""Figures beside a peer, measured side by side in one run (``make bench``); nothing here passes or fails."""
