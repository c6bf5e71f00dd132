"""Watch folders, sidecar files and file names."""
