"""What agents send: stored and queued by one compare-and-set, sent by delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.inbox.decisions.admission import (
    NOT_FOUND,
    answered,
    exists,
    invalid_transition,
    judge_send,
    not_holder,
    present,
)
from services.inbox.decisions.admission import holder_of as holder
from services.inbox.decisions.fold import MessageIndex
from services.inbox.decisions.lifecycle import Refusal, Viewer, sees
from services.inbox.decisions.limits import check, check_media
from services.inbox.decisions.sending import (
    compose,
    discard,
    is_discarded,
    queue,
    react,
    resend,
)
from services.inbox.model.conversation import Conversation, Message
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.model.outgoing import OutgoingRequest, ReactionChoice, StoredMedia
from services.inbox.storage.messages import MessageStore, overlay
from services.inbox.workflows.changing import Call, Changing, conversation_at
from services.inbox.workflows.templates import TemplateBook
from shared.contracts.views import MessageStatus
from shared.mongo.headlog import Head, Step

_SEND = "send"
_UNSETTLED = (MessageStatus.UNKNOWN, MessageStatus.FAILED)


class MediaCatalogue(Protocol):
    """The tenant's stored files."""

    async def find(self, viewer: Viewer, media_id: str) -> StoredMedia | None:
        """A file that the viewer may send."""
        ...


class NoMedia:
    """There are none."""

    async def find(self, viewer: Viewer, media_id: str) -> StoredMedia | None:  # noqa: ARG002
        return None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a send is decided on: the messages are looked up after the conversation."""

    conversation: Conversation | None
    messages: MessageIndex

    def message(self, message_id: str) -> Message | None:
        """A message of this conversation."""
        found = self.messages.get(message_id)
        if found is None or found.deleted or self.conversation is None:
            return None
        return found if found.conversation_id == self.conversation.id else None


class Sending:
    """Every call answers with the message as it is after it, or refuses with the reason's code."""

    def __init__(
        self,
        changing: Changing,
        messages: MessageStore,
        templates: TemplateBook,
        media: MediaCatalogue | None = None,
    ) -> None:
        self._changing = changing
        self._messages = messages
        self._templates = templates
        self._media = media or NoMedia()

    async def send(self, call: Call, request: OutgoingRequest) -> Message:
        """Queues a message. The same `client_id` again: the same message, once.

        Refuses with `validation`, `unknown_media`, `not_found`, `stale_epoch`, `not_holder`,
        `blocked`, `number_deleted`, `window_closed` with `templates` that could be sent instead,
        `unknown_template`, `template_unavailable`.
        """
        errors = check(request)
        if errors:
            raise RefusedError("validation", errors=errors)
        if call.viewer.is_bot and request.type == "reaction":
            raise invalid("type", "not_allowed")  # a reaction is an agent's or the contact's
        media = await self._find_media(call, request)
        changing = self._changing
        tenant = call.viewer.tenant
        message_id = changing.ids.outgoing_message(tenant, call.conversation_id, request.client_id)
        key = changing.answer_key(call, _SEND)
        reaction = request.reaction
        wanted = [message_id, request.reply_to, reaction.message_id if reaction else None]

        async def decide(head: Head | None) -> Step[Message]:
            loaded = await self._load(head, [one for one in wanted if one is not None], call, key)
            conversation = loaded.conversation
            before = self._sent_before(loaded, call, message_id, key)
            if before is not None:
                return Step(before)
            refusal = judge_send(
                conversation,
                call.viewer,
                epoch=call.epoch,
                needs_window=request.type != "template",
                number_there=await self._has_number(conversation),
                now=changing.clock(),
            )
            if refusal is not None or conversation is None:
                raise await self._refused(refusal or NOT_FOUND, tenant, conversation)
            if request.template is not None and request.type == "template":
                await self._templates.judge(tenant, conversation.number_id, request.template)
            if reaction is not None:
                return self._react(head, loaded, call, reaction, message_id)
            quoted = None
            if request.reply_to is not None:
                # The command carries its wamid: without one the customer would see no quote.
                quoted = loaded.message(request.reply_to)
                if quoted is None or quoted.wamid is None:
                    raise invalid("reply_to", "unknown")
            draft = changing.begin(conversation, key, 202, message_id)
            message = compose(
                request,
                conversation,
                call.viewer,
                message_id=message_id,
                media=media,
                now=draft.now,
            )
            return changing.step(head, draft, queue(draft, message, quoted))

        return await changing.log.change(call.conversation_id, decide)

    async def _refused(
        self, refusal: Refusal, tenant: str, conversation: Conversation | None
    ) -> RefusedError:
        error = self._changing.refused(refusal, tenant)
        if refusal.code == "window_closed" and conversation is not None:
            found = await self._templates.fitting(tenant, conversation.number_id)
            error.members["templates"] = found
        return error

    async def _has_number(self, conversation: Conversation | None) -> bool:
        return conversation is not None and await self._changing.has_number(conversation)

    async def _find_media(self, call: Call, request: OutgoingRequest) -> StoredMedia | None:
        choice = request.media
        if choice is None:
            return None
        found = await self._media.find(call.viewer, choice.id)
        if found is None:
            errors = [{"field": "media.id", "code": "unknown"}]
            raise RefusedError("unknown_media", errors=errors)
        wrong = check_media(request.type, found, voice=choice.voice)
        if wrong:
            raise RefusedError("validation", errors=wrong)
        return found

    async def _load(
        self, head: Head | None, wanted: Sequence[str], call: Call, key: str | None
    ) -> _Loaded:
        """The look-up comes after the load of the head, and its outbox lies over it."""
        conversation = conversation_at(head)
        if head is None or not exists(conversation, call.viewer.tenant):
            return _Loaded(None, MessageIndex())
        kept = answered(conversation, key, self._changing.clock())
        ids = [*wanted, *([kept.message_id] if kept and kept.message_id else [])]
        index = MessageIndex(await self._messages.look_up(ids, ()))
        overlay(index, head.unpublished)
        return _Loaded(conversation, index)

    def _sent_before(
        self, loaded: _Loaded, call: Call, message_id: str, key: str | None
    ) -> Message | None:
        """The message that this client id, or this Idempotency-Key, stands for already.

        Its author is told it even when the chat is not in sight any more: it was queued.
        """
        conversation = loaded.conversation
        if conversation is None:
            return None
        found = loaded.message(message_id)
        reaction = self._changing.ids.of("reaction", message_id)
        now = self._changing.clock()
        for one in (key, reaction):
            kept = answered(conversation, one, now)
            if found is None and kept is not None and kept.message_id is not None:
                found = loaded.message(kept.message_id)
        if found is None:
            return None
        own = found.author.id == call.viewer.agent
        return found if own or sees(conversation, call.viewer) else None

    def _react(
        self,
        head: Head | None,
        loaded: _Loaded,
        call: Call,
        choice: ReactionChoice,
        message_id: str,
    ) -> Step[Message]:
        """A reaction is a fact on its target: the target is the answer."""
        changing = self._changing
        conversation = loaded.conversation
        target = loaded.message(choice.message_id)
        if conversation is None or target is None or target.wamid is None:
            raise invalid("reaction.message_id", "unknown")
        kept = changing.ids.of("reaction", message_id)
        draft = changing.begin(conversation, kept, 202, target.id)
        changed = react(draft, target, call.viewer, emoji=choice.emoji, message_id=message_id)
        return changing.step(head, draft, changed or target)

    # -- what failed or ended unknown

    async def resend(self, call: Call, message_id: str) -> Message:
        """Sends again, because a human says so. Refuses as `send`, or `invalid_transition`."""
        return await self._settle(call, message_id, again=True)

    async def discard(self, call: Call, message_id: str) -> Message:
        """Gives the message up. Refuses with `not_found`, `not_holder`, `invalid_transition`."""
        return await self._settle(call, message_id, again=False)

    async def _settle(self, call: Call, message_id: str, *, again: bool) -> Message:
        changing = self._changing
        tenant = call.viewer.tenant
        key = changing.answer_key(call, f"{'resend' if again else 'discard'}:{message_id}")

        async def decide(head: Head | None) -> Step[Message]:
            loaded = await self._load(head, [message_id], call, key)
            conversation = loaded.conversation
            message = loaded.message(message_id)
            if message is not None and changing.done_before(conversation, call, key):
                return Step(message)
            there = await self._has_number(conversation)
            refusal = self._refuse_settling(
                call, conversation, message, again=again, number_there=there
            )
            if refusal is not None or conversation is None or message is None:
                raise await self._refused(refusal or NOT_FOUND, tenant, conversation)
            if message.status is MessageStatus.QUEUED if again else is_discarded(message):
                return Step(message)
            if message.status not in _UNSETTLED:
                status = message.status.value if message.status else None
                raise RefusedError("invalid_transition", status=status)
            draft = changing.begin(conversation, key, 202 if again else 200, message_id)
            if not again:
                return changing.step(head, draft, discard(draft, message, call.actor))
            quoted = await self._quoted(head, message)
            return changing.step(head, draft, resend(draft, message, call.actor, quoted))

        return await changing.log.change(call.conversation_id, decide)

    def _refuse_settling(
        self,
        call: Call,
        conversation: Conversation | None,
        message: Message | None,
        *,
        again: bool,
        number_there: bool,
    ) -> Refusal | None:
        viewer = call.viewer
        refusal = present(conversation, viewer, call.epoch)
        if refusal is not None or conversation is None or message is None:
            return refusal or NOT_FOUND
        if message.direction != "out" or message.author.kind == "phone":
            return invalid_transition(conversation)
        if holder(conversation) != viewer.agent:
            return not_holder(conversation)
        if not again:
            return None
        return judge_send(
            conversation,
            viewer,
            epoch=call.epoch,
            needs_window=message.type != "template",
            number_there=number_there,
            now=self._changing.clock(),
        )

    async def _quoted(self, head: Head | None, message: Message) -> Message | None:
        if message.reply_to is None or head is None:
            return None
        index = MessageIndex(await self._messages.look_up([message.reply_to], ()))
        overlay(index, head.unpublished)
        return index.get(message.reply_to)
