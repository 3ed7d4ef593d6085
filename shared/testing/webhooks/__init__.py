"""Webhooks as Meta sends them: builders of every shape, Meta's escaping, the signature, a driver.

The builders are pure and return plain dicts in Meta's member order; `Wamids(seed)` makes ids that
repeat from run to run. Shapes: the pages under
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference.

    ids = Wamids(seed=1)
    ana = Customer()
    hi = text_message("hi", ana, ids.inbound(ana))
    body = encode(webhook(messages_change(Number(), [hi], [ana])))
    headers = signed_headers(body, "app-secret")
"""

from shared.testing.webhooks.builders import (
    ERRORS_HREF,
    button_message,
    button_reply_message,
    change,
    contacts_message,
    edit_message,
    flow_reply_message,
    list_reply_message,
    location_message,
    media_message,
    merged,
    message,
    messages_change,
    order_message,
    pricing,
    reaction_message,
    revoke_message,
    status,
    status_error,
    statuses_change,
    system_message,
    text_message,
    unsupported_message,
    value,
    webhook,
)
from shared.testing.webhooks.driver import (
    Delivery,
    Tally,
    WebhookDriver,
)
from shared.testing.webhooks.ids import (
    Customer,
    Json,
    Number,
    Wamids,
    customers,
    wamid,
)
from shared.testing.webhooks.wire import (
    MAX_BYTES,
    SIGNATURE_HEADER,
    encode,
    sign,
    signed_headers,
)

__all__ = [
    "ERRORS_HREF",
    "MAX_BYTES",
    "SIGNATURE_HEADER",
    "Customer",
    "Delivery",
    "Json",
    "Number",
    "Tally",
    "Wamids",
    "WebhookDriver",
    "button_message",
    "button_reply_message",
    "change",
    "contacts_message",
    "customers",
    "edit_message",
    "encode",
    "flow_reply_message",
    "list_reply_message",
    "location_message",
    "media_message",
    "merged",
    "message",
    "messages_change",
    "order_message",
    "pricing",
    "reaction_message",
    "revoke_message",
    "sign",
    "signed_headers",
    "status",
    "status_error",
    "statuses_change",
    "system_message",
    "text_message",
    "unsupported_message",
    "value",
    "wamid",
    "webhook",
]
