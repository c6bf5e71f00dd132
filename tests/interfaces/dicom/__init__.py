"""Tests of the DICOM edge against DCMTK, Orthanc, our own sandbox and peers that misbehave."""
