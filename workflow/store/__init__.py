"""All queries and the one place that commits."""
