"""A document that is the head of its log: every change is one compare-and-set on one document.

The rules are those of `models/inbox_model.py`; each one left out has a failing trace there.

1. `load` heads with read concern majority; `unpublished` are the outbox entries that this process
   does not know to be published.
2. The caller looks up what it needs *after* the load and decides.
3. `commit` is one bulk write of compare-and-sets on `version`. The new outbox is
   `unpublished + new entries`; an entry holds every effect of its event.
4. `publish` writes the documents of the entries and sends their events in version order, in
   parallel; commands go after the documents.
5. Only when both are done the process remembers (id, version) as published.
6. Trims are lazy, in bulk, w:1, by `$pull` and only where the version is still the one published.
7. A commit that is not certain starts again at 1.
"""

from shared.mongo.headlog.entries import (
    Change,
    DocumentWrite,
    Entry,
    Head,
    Insert,
    LogRecord,
    Patch,
    PatchAll,
    Publication,
    Put,
    Step,
    published,
)
from shared.mongo.headlog.log import ROUNDS, ContentionError, HeadLog, HeadLogOptions, RunPublisher

__all__ = [
    "ROUNDS",
    "Change",
    "ContentionError",
    "DocumentWrite",
    "Entry",
    "Head",
    "HeadLog",
    "HeadLogOptions",
    "Insert",
    "LogRecord",
    "Patch",
    "PatchAll",
    "Publication",
    "Put",
    "RunPublisher",
    "Step",
    "published",
]
