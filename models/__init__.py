"""What things are: frozen values, tables, legal transitions, pure rules. No I/O, no clock, no settings."""
