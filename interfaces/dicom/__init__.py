"""DICOM network: storing to a PACS and proving that it is there.

pynetdicom keeps a few switches for the whole process. They are set here, once and before any association exists,
because no association has them for itself:

* objects are sent from and received into a file in pieces, because a video does not fit in memory;
* identifiers and messages are not logged, because they carry patient data.
"""

from pynetdicom import _config

_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
