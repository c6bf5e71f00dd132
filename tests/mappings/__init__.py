"""The shipped tables, and reading and writing them."""
