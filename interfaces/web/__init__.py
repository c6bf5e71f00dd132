"""The console and the JSON API on one FastAPI app."""
