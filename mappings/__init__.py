"""The shipped default mapping tables (CSV), and the readers and writers for them."""
