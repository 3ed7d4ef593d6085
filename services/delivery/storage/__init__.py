"""MongoDB: send records, calls, stopped numbers, uploaded files. Every call takes the tenant.

The exceptions are the scans by partition, by which a pod finds what it owns.
"""

from services.delivery.storage.calls import CallRecords
from services.delivery.storage.numbers import StoppedNumbers
from services.delivery.storage.sends import SendRecords
from services.delivery.storage.uploads import Uploads

__all__ = ["CallRecords", "SendRecords", "StoppedNumbers", "Uploads"]
