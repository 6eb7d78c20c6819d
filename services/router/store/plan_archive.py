"""A plan as the decision log keeps it: its JSON, deflated over words that nearly every plan has.

A plan is some nine hundred bytes of keys and sentences of which all but a few numbers are the same
in every plan, and one is written for every payment. Deflated over these words it is a fifth of
that, and still says word for word what was said when it was made.
"""

import zlib
from datetime import datetime
from typing import Any, Final

import orjson

from services.router.domain.plan import Candidate, Exclusion, Plan, Policy

# What was packed over these words is unpacked over the same ones, years later. A change of them is a new constant beside this
# one; the stream names the words that it wants by their checksum.
WORDS: Final = (
    b'{"candidates":[{"channel_id":"","score":0.,"expected_cost_minor":0,'
    b'"success_rate":0.,"latency_ms":0.,"samples":0,"reasons":['
    b'"failing now: only  of its last  outcomes succeeded, far below its 30 minutes, so these'
    b' decide: expected success rate ","no outcomes in the last 30 minutes: assumed success rate'
    b' 90.0%","expected success rate 9%:  of  succeeded in the last 30 minutes, prior included",'
    b'"expected to answer in 500 ms","fee 0. CNY","lowest cost per success",'
    b'"highest success rate","shortest time to success"]},{"channel_id":"","score":0.'
    b'],"exclusions":[{"channel_id":"","reason":"CHANNEL_DISABLED"},{"channel_id":"",'
    b'"reason":"CHANNEL_DRAINED"},{"channel_id":"","reason":"NOT_ALLOWED"},{"channel_id":"",'
    b'"reason":"OPERATION_UNSUPPORTED"},{"channel_id":"","reason":"METHOD_UNSUPPORTED"},'
    b'{"channel_id":"","reason":"CURRENCY_UNSUPPORTED"},{"channel_id":"","reason":'
    b'"AMOUNT_TOO_SMALL"},{"channel_id":"","reason":"AMOUNT_TOO_LARGE"}],"policy":"CHEAPEST'
    b'MOST_SUCCESSFULFASTESTBALANCED","explanation":" first, for the lowest expected cost per'
    b" success the highest expected success rate the shortest expected time to success the best"
    b" balance of success rate, cost and time (score 0.);  more can take over,  excluded."
    b'"}'
)


def pack(plan: Plan) -> bytes:
    """What unpack reads, together with the columns beside it."""
    text = orjson.dumps(
        {
            "candidates": plan.candidates,
            "exclusions": plan.exclusions,
            "policy": plan.policy,
            "explanation": plan.explanation,
        }
    )
    packer = zlib.compressobj(zdict=WORDS)
    return packer.compress(text) + packer.flush()


def unpack(data: bytes, route_key: str, decided_at: datetime) -> Plan:
    """The plan that was packed. Raises zlib.error for what pack did not make."""
    unpacker = zlib.decompressobj(zdict=WORDS)
    packed = orjson.loads(unpacker.decompress(data) + unpacker.flush())
    return plan_of(packed, route_key, decided_at)


def plan_of(data: dict[str, Any], route_key: str, decided_at: datetime) -> Plan:
    """A plan out of its JSON, as rows held it before they were packed."""
    return Plan(
        route_key=route_key,
        candidates=tuple(
            Candidate(**each | {"reasons": tuple(each["reasons"])}) for each in data["candidates"]
        ),
        exclusions=tuple(Exclusion(**each) for each in data["exclusions"]),
        policy=Policy(data["policy"]),
        explanation=data["explanation"],
        decided_at=decided_at,
    )
