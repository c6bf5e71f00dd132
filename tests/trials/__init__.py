"""The long figures (``make trials``): hundreds of kills, gigabytes, tens of thousands of messages."""
