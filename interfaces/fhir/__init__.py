"""FHIR R4: building resources and bringing them to a server without duplicates."""
