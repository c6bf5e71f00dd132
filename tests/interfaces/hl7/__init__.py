"""Tests of the HL7 edge."""
