"""`block_users`: https://developers.facebook.com/documentation/business-messaging/whatsapp/block-users."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.testing.graph.errors import GraphError, error_body, kind_of
from shared.testing.graph.model import Json
from shared.testing.graph.nodes import answer, page
from shared.testing.graph.sending import digits
from shared.testing.graph.validation import BSUID
from shared.testing.graph.world import World
from shared.testing.webhooks import Customer

MOST_PER_CALL = 1000
MOST_BLOCKED = 64_000


async def block(world: World, node: str, _request: Request, body: Json | None) -> Response:
    """Block users; those who did not write in the last 24 h fail while the window is enforced."""
    blocked = world.blocked.setdefault(node, {})
    done: list[Json] = []
    failed: list[Json] = []
    for given, customer in _users(world, body):
        code = None
        if customer.wa_id == digits(world.number(node).number.display_phone_number):
            code = 131021
        elif world.switches.window and not world.window_open(node, customer):
            code = 131047
        elif len(blocked) >= MOST_BLOCKED:
            code = 139101
        if code is None:
            blocked[customer.identity] = customer
            done.append(_shown(given, customer))
        else:
            failed.append(_shown(given, customer) | {"errors": [_error(code)]})
    return _outcome("added_users", done, failed)


async def unblock(world: World, node: str, _request: Request, body: Json | None) -> Response:
    blocked = world.blocked.setdefault(node, {})
    done = []
    for given, customer in _users(world, body):
        for identity in (customer.wa_id, customer.user_id):
            blocked.pop(identity or "", None)
        done.append(_shown(given, customer))
    return _outcome("removed_users", done, [])


async def block_list(world: World, node: str, request: Request, _body: Json | None) -> Response:
    shown = []
    for customer in world.blocked.get(node, {}).values():
        key = "wa_id" if customer.wa_id else "user_id"
        shown.append({"messaging_product": "whatsapp", key: customer.identity})
    return answer(page(shown, request))


def _users(world: World, body: Json | None) -> list[tuple[str, Customer]]:
    if (body or {}).get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    users = (body or {}).get("block_users")
    if not isinstance(users, list) or not users:
        raise GraphError(100, "The parameter block_users is required.")
    if len(users) > MOST_PER_CALL:
        raise GraphError(100, f"At most {MOST_PER_CALL} users per call.")
    return [_user(world, one) for one in users]


def _user(world: World, one: Any) -> tuple[str, Customer]:
    if isinstance(one, dict) and isinstance(phone := one.get("user"), str) and digits(phone):
        plain = digits(phone)
        known = world.aliases.get(plain) or world.customers.get(plain)
        return phone, known or Customer(plain, None, None)
    user_id = one.get("user_id") if isinstance(one, dict) else None
    if isinstance(user_id, str) and BSUID.fullmatch(user_id) and ".ENT." not in user_id:
        return user_id, world.customers.get(user_id) or Customer(None, user_id, None)
    raise GraphError(131009, "Each member of block_users needs a valid user or user_id.")


def _shown(given: str, customer: Customer) -> Json:
    if given == customer.user_id:
        return {"input": given, "user_id": given}
    return {"input": given, "wa_id": customer.wa_id}


def _error(code: int) -> Json:
    kind = kind_of(code)
    if code == 131047:
        return {
            "message": "Re-engagement required",
            "code": code,
            "error_data": {
                "details": "The business has not received a message from that number in the last "
                "24 hours."
            },
        }
    return {"message": kind.title, "code": code, "error_data": {"details": kind.details}}


def _outcome(member: str, done: list[Json], failed: list[Json]) -> Response:
    users: Json = {}
    if done:
        users[member] = done
    if failed:
        users["failed_users"] = failed
    body: Json = {"messaging_product": "whatsapp", "block_users": users}
    if failed:
        return answer(body | error_body(139100), 400)
    return answer(body)
