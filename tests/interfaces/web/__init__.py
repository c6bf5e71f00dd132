"""The console and the JSON API, over a desk that is held in memory."""
