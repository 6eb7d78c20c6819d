"""Velocity counters in Redis: one sorted set a counter, its members evaluation_ids, its scores
milliseconds.

A repeated evaluation finds its member there and counts once. What Redis loses is lost: counts begin
anew.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from libs.clock import Clock
from libs.errors import FiscError
from libs.resilience import transport
from libs.resilience.breaker import Breaker
from services.risk.domain.errors import CountersUnavailable
from services.risk.domain.judgement import Assessment, Window
from services.risk.domain.model import VelocityKey

KEY_PREFIX: Final = "fisc:risk:velocity:"
# Members kept beyond a rule's maximum: a rule only asks whether there are more, its sentence how
# many.
MEMBERS_SLACK: Final = 1_000
# A Redis that is down is asked again after this long; until then evaluations do not wait for it.
BREAKER_OPEN_S: Final = 2.0
BREAKER_CONSECUTIVE_FAILURES_MAX: Final = 3

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MILLISECONDS_PER_SECOND: Final = 1_000

# KEYS: the set. ARGV: now, the end of the window before now, the window, members to keep,
# evaluation_ids. Answers the count after each evaluation_id.
_SCRIPT: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
local counts = {}
for i = 5, #ARGV do
    redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[i])
    counts[#counts + 1] = redis.call('ZCARD', KEYS[1])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(tonumber(ARGV[4]) + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return counts
"""
_SCRIPT_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisVelocity:
    """Counts operations in sliding windows; one round trip a batch."""

    def __init__(self, redis: Redis, *, timeout_s: float, clock: Clock) -> None:
        """The client stays the caller's to close."""
        self._redis = redis
        self._timeout_s = timeout_s
        self._breaker = Breaker(
            "risk-redis",
            consecutive_failures_max=BREAKER_CONSECUTIVE_FAILURES_MAX,
            open_s=BREAKER_OPEN_S,
            clock=clock,
        )

    async def count(
        self, assessments: Sequence[Assessment], now: datetime
    ) -> list[dict[VelocityKey, int]]:
        """For each assessment the count of each of its windows, itself and those before it
        included.

        A count is right up to MEMBERS_SLACK beyond the rule's maximum, and no smaller than that
        above it. Raises CountersUnavailable, within timeout_s.
        """
        members: dict[VelocityKey, tuple[Window, list[str]]] = {}
        for assessment in assessments:
            for window in assessment.windows:
                _, evaluation_ids = members.setdefault(window.key, (window, []))
                evaluation_ids.append(assessment.evaluation.evaluation_id)
        counted: list[dict[VelocityKey, int]] = [{} for _ in assessments]
        if not members:
            return counted
        replies = await self._guarded(list(members.values()), now)
        counts_left = {key: iter(reply) for key, reply in zip(members, replies, strict=True)}
        for assessment, counts in zip(assessments, counted, strict=True):
            for window in assessment.windows:
                counts[window.key] = next(counts_left[window.key])
        return counted

    async def _guarded(
        self, windows: Sequence[tuple[Window, list[str]]], now: datetime
    ) -> list[list[int]]:
        async def ask() -> list[list[int]]:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._run(windows, now)
            except (RedisError, OSError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not transport.is_closed(error):
                    raise
                raise CountersUnavailable(cause=type(error).__name__) from error

        try:
            return await self._breaker.call(
                ask, is_failure=lambda error: isinstance(error, CountersUnavailable)
            )
        except FiscError as error:
            raise CountersUnavailable(cause=error.reason) from error

    async def _run(
        self, windows: Sequence[tuple[Window, list[str]]], now: datetime
    ) -> list[list[int]]:
        try:
            return await self._send(windows, now)
        except NoScriptError:
            # Redis was started anew. A set that was reached before keeps its members: nothing
            # counts twice.
            await self._redis.script_load(_SCRIPT)
            return await self._send(windows, now)

    async def _send(
        self, windows: Sequence[tuple[Window, list[str]]], now: datetime
    ) -> list[list[int]]:
        now_ms = (now - _EPOCH) // _MILLISECOND
        async with self._redis.pipeline(transaction=False) as pipeline:
            for window, evaluation_ids in windows:
                window_ms = window.limit.window_s * _MILLISECONDS_PER_SECOND
                pipeline.evalsha(
                    _SCRIPT_SHA,
                    1,
                    _redis_key(window.key),
                    str(now_ms),
                    str(now_ms - window_ms),
                    str(window_ms),
                    str(window.limit.count_maximum + MEMBERS_SLACK),
                    *evaluation_ids,
                )
            replies: list[list[int]] = await pipeline.execute()
        return replies


def _redis_key(key: VelocityKey) -> str:
    # Hashed, because subjects are long and personal. NUL cannot occur in them.
    parts = (str(key.subject_kind), key.merchant_scope, key.subject)
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return f"{KEY_PREFIX}{key.rule_id}:{digest}"
