"""A video file and values in, a DICOM file out. No network, no database."""
