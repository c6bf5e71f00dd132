"""FHIR: resources, publishing without duplicates, and the sandbox EHR."""
