"""DICOM network: storing to a PACS and proving that it is there."""
