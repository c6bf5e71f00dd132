"""One folder a protocol, as the interfaces have it."""
