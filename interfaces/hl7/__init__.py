"""HL7 v2: MLLP in and out, reading orders, answering, building results."""
