from datetime import UTC, datetime, timedelta

import jwt
import pytest

from services.inbox.decisions.signing import KeyRule
from services.inbox.storage.keys import SigningKeys, TokenError
from shared.mongo.client import MongoSettings, create_client
from shared.sealing import Sealer
from tests.integration.inbox.inbox_rig import MASTER_KEY, Inbox, TenantRig
from tests.support.stack import Addresses

pytestmark = pytest.mark.integration
LIFE = timedelta(minutes=15)


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_pods_change_keys_by_age_and_every_token_stays_good(
    stack: Addresses, mongo_db: str
) -> None:
    moment = datetime.now(UTC) - timedelta(days=100)
    client = create_client(MongoSettings(mongo_url=stack.mongo_url), app_name="keys")
    rule = KeyRule(timedelta(days=90), timedelta(minutes=10), timedelta(minutes=75))

    def pod() -> SigningKeys:
        return SigningKeys(
            client[mongo_db], Sealer(MASTER_KEY), issuer="atrio", rule=rule, clock=lambda: moment
        )

    def sign(pod: SigningKeys) -> str:
        return pod.sign({"sub": "a"}, audience="x", life=timedelta(days=365))

    one, other = pod(), pod()
    await one.tend()
    await other.tend()
    old = sign(one)

    moment += timedelta(days=90)
    await one.tend()
    await other.tend()
    assert len(one.jwks) == 2
    assert one.jwks == other.jwks
    assert kid_of(sign(one)) == kid_of(old)

    moment += timedelta(minutes=10)
    await one.tend()
    new = sign(one)
    assert kid_of(new) != kid_of(old)
    # The other pod did not look yet: it knows the new key all the same.
    assert other.verify(new, audience="x")["sub"] == "a"
    assert one.verify(sign(other), audience="x")["sub"] == "a"

    moment += timedelta(minutes=75)
    await one.tend()
    assert [each["kid"] for each in one.jwks] == [kid_of(new)]
    restarted = pod()
    await restarted.tend()
    with pytest.raises(TokenError):
        restarted.verify(old, audience="x")
    client.close()


async def test_the_operator_rotates_and_nobody_is_logged_out(
    inbox: Inbox, tenant: TenantRig
) -> None:
    before = {
        key["kid"] for key in (await inbox.http("GET", "/.well-known/jwks.json")).body["keys"]
    }
    path = "/v1/platform/signing-keys"
    rotated = await inbox.platform("POST", path)
    assert rotated.status == 202
    again = await inbox.platform("POST", path)
    assert again.body == rotated.body  # one waits already
    assert (await inbox.platform("GET", path)).body == rotated.body
    shown = (await inbox.http("GET", "/.well-known/jwks.json")).body["keys"]
    assert before <= {key["kid"] for key in shown}
    assert [key["kid"] for key in shown] == [key["id"] for key in rotated.body["items"]]
    # Keys of other rotations may still be shown; the newest is announced, the one before it signs.
    signing = [key["signing"] for key in rotated.body["items"]]
    assert signing[-2:] == [True, False]
    assert sum(signing) == 1
    keyset = inbox.service._base.view.keyset()
    assert keyset is not None
    assert keyset.keys == shown
    assert (await tenant.admin("GET", "/v1/me")).status == 200
