"""Every kind of record that the services produce, made by their own code from a fixed story.

`python -m tests.contracts.samples` writes the files of `tests/contracts/golden/` that are missing:
for a new type, or a file that was removed because its record gained members. What a golden file
holds never goes away within a version.
"""

from __future__ import annotations

from services.inbox.model.accounts import AccountNews
from services.inbox.workflows.accounts import record_of as account_record
from services.inbox.workflows.resuming import resume_command
from services.inbox.workflows.templates import sync_command
from shared.contracts.records import OutRecord
from tests.contracts.samples.conversations import contact_records, conversation_records
from tests.contracts.samples.delivery import AT, delivery_records
from tests.contracts.samples.directory import agent_records, directory_records
from tests.contracts.samples.ingest import inbound_records
from tests.contracts.samples.routing import routing_records

RESTRICTED = AccountNews(
    id="news-1",
    tenant="tenant-1",
    at=AT,
    field="account_update",
    change="ACCOUNT_RESTRICTION",
    waba_id="100000000000001",
    number_id=None,
    contact_id=None,
    template=None,
    details={"restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"}]},
)


async def records() -> list[OutRecord]:
    """At least one record of each type that is produced today."""
    return [
        *inbound_records(),
        *conversation_records(),
        *contact_records(),
        *directory_records(),
        *agent_records(),
        *routing_records(),
        *await delivery_records(),
        sync_command("tenant-1", "number-1", AT),
        resume_command("tenant-1", "number-1", AT, AT),
        account_record(RESTRICTED),
    ]
