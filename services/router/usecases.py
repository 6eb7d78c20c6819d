"""What the router does: each method loads, decides and saves, in one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import asyncpg

from libs.clock import Clock
from libs.errors import FiscError
from libs.paging import Page, PageRequest
from services.router.domain import channel as channels
from services.router.domain import errors, scoring, statistics
from services.router.domain.channel import Channel, ChannelStatus
from services.router.domain.plan import Decision, Plan, RouteQuery
from services.router.domain.statistics import Arm, ArmKey, Estimate, Outcome
from services.router.domain.view import RoutingView
from services.router.store import database


class Router:
    """Routing, feedback and the care of channels."""

    def __init__(self, pool: database.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._view = RoutingView()

    async def refresh(self) -> None:
        """Bring the view up to date with the database, so with what other replicas wrote."""
        self._view.begin_reload()
        async with self._pool.acquire() as connection:
            loaded = await database.all_channels(connection)
            arms = await database.load_arms(connection, self._clock.now())
        self._view.finish_reload(loaded, arms)

    async def is_ready(self) -> bool:
        """Whether plans can be made."""
        return self._view.loaded

    async def route(self, query: RouteQuery) -> Plan:
        """Plan one operation.

        Idempotent by route_key. Raises what `route_batch` answers for an item.
        """
        (result,) = await self.route_batch([query])
        if isinstance(result, FiscError):
            raise result
        return result

    async def route_batch(self, queries: Sequence[RouteQuery]) -> list[Plan | FiscError]:
        """Plan many operations, one result each, in order. Plans are recorded, refusals are not.

        A key that was decided before, here or earlier in the batch, gives the recorded plan again,
        or RouteKeyReused if it was decided for another operation.
        """
        made = self._make_plans(queries)
        decided = {key: each for key, each in made.items() if isinstance(each, Decision)}
        recorded: dict[str, Decision] = {}
        # A key whose operation cannot be planned now may have been decided before, when it could.
        refused = [key for key, each in made.items() if isinstance(each, FiscError)]
        async with self._pool.acquire() as connection:
            if decided:
                recorded |= await database.record_decisions(connection, decided)
            if refused:
                recorded |= await database.get_decisions(connection, refused)
        return [
            _answer(query, recorded.get(query.route_key, made[query.route_key]))
            for query in queries
        ]

    async def get_decision(self, route_key: str) -> Plan:
        """The recorded plan of a key, or DecisionNotFound."""
        async with self._pool.acquire() as connection:
            found = await database.get_decisions(connection, [route_key])
        if route_key not in found:
            raise errors.DecisionNotFound(field="route_key")
        return found[route_key].plan

    async def record_outcomes(self, outcomes: Sequence[Outcome]) -> int:
        """Count what is new and return how many that was. Idempotent by attempt_id.

        Outcomes of a channel unknown here are kept and counted too: its description may come later.
        """
        now = self._clock.now()
        first_by_id: dict[str, Outcome] = {}
        for outcome in outcomes:
            first_by_id.setdefault(outcome.attempt_id, outcome)
        new = statistics.not_later_than(first_by_id.values(), now)
        for _ in range(database.RECORD_ATTEMPTS_MAX):
            try:
                return await self._count(new, now)
            except asyncpg.UniqueViolationError:
                async with self._pool.acquire() as connection:
                    known = await database.known_outcomes(connection, first_by_id)
                new = [each for each in new if each.attempt_id not in known]
        raise errors.Contended

    async def _count(self, new: Sequence[Outcome], now: datetime) -> int:
        """Record outcomes that are taken for new and add them up, in one transaction; how many."""
        if not new:
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            await database.insert_outcomes(connection, new)
            await database.add_minutes(connection, statistics.tally(new))
            await database.append_recent(connection, statistics.recent_rows(new, now))
            channel_ids = {each.arm.channel_id for each in new}
            arms = await database.load_arms(connection, now, channel_ids=channel_ids)
        self._view.write_arms(arms)
        return len(new)

    async def upsert_channel(self, request_id: str, channel: Channel) -> Channel:
        """Create or replace a channel. Idempotent by request_id.

        Raises InvalidChannel, UnknownCurrency, EtagMismatch (an etag that is given must be
        current), RequestIdReused.
        """
        channels.check(channel)

        async def change(connection: database.Connection) -> Channel:
            return await database.put_channel(connection, channel, self._clock.now())

        return await self._once(request_id, f"upsert {channel}", change)

    async def set_channel_status(
        self, request_id: str, channel_id: str, status: ChannelStatus
    ) -> Channel:
        """Enable, drain or disable.

        Idempotent by request_id. Raises ChannelNotFound, RequestIdReused.
        """

        async def change(connection: database.Connection) -> Channel:
            now = self._clock.now()
            return await database.set_channel_status(connection, channel_id, status, now)

        return await self._once(request_id, f"status {channel_id} {status}", change)

    async def get_channel(self, channel_id: str) -> Channel:
        """One channel, or ChannelNotFound."""
        async with self._pool.acquire() as connection:
            return await database.get_channel(connection, channel_id)

    async def list_channels(self, page: PageRequest) -> Page[Channel]:
        """Channels by id. Raises InvalidPageToken."""
        after_id = page.after
        async with self._pool.acquire() as connection:
            found = await database.list_channels(connection, after_id=after_id, limit=page.limit)
        return page.page(found, _id)

    async def get_channel_stats(
        self, channel_id: str
    ) -> list[tuple[str, channels.Method, Estimate]]:
        """What is expected of each method of one channel, or of all ("").

        Payments and payouts of a method are put together. Raises ChannelNotFound.
        """
        now = self._clock.now()
        known = {each.channel_id: each for each in self._view.channels}
        if channel_id and channel_id not in known:
            known[channel_id] = await self.get_channel(channel_id)
        wanted = [known[channel_id]] if channel_id else sorted(known.values(), key=_id)
        return [
            (each.channel_id, method, statistics.estimate(self._method_arm(each, method), now))
            for each in wanted
            for method in sorted(each.methods)
        ]

    def _method_arm(self, channel: Channel, method: channels.Method) -> Arm:
        keys = (ArmKey(channel.channel_id, method, each) for each in channels.Operation)
        return statistics.combine(self._view.arms.get(key, Arm()) for key in keys)

    def _make_plans(self, queries: Sequence[RouteQuery]) -> dict[str, Decision | FiscError]:
        now = self._clock.now()
        assessor = scoring.Assessor(self._view.arms, now)
        made: dict[str, Decision | FiscError] = {}
        for query in queries:
            if query.route_key in made:
                continue
            try:
                plan = scoring.make_plan(query, self._view.channels, assessor, now)
            except FiscError as refusal:
                made[query.route_key] = refusal
            else:
                made[query.route_key] = Decision(
                    merchant_id=query.merchant_id,
                    currency=query.currency,
                    amount_minor=query.amount_minor,
                    method=query.method,
                    operation=query.operation,
                    plan=plan,
                )
        return made

    async def _once(
        self,
        request_id: str,
        fingerprint: str,
        change: Callable[[database.Connection], Awaitable[Channel]],
    ) -> Channel:
        """Make a change unless the request has made it before; return the answer it got."""
        async with self._pool.acquire() as connection, connection.transaction():
            now = self._clock.now()
            before = await database.claim_request(connection, request_id, fingerprint, now)
            if before is not None:
                return before
            changed = await change(connection)
            await database.answer_request(connection, request_id, changed)
        self._view.write_channel(changed)
        return changed


def _answer(query: RouteQuery, result: Decision | FiscError) -> Plan | FiscError:
    if isinstance(result, FiscError):
        return result
    return result.plan if result.is_for(query) else errors.RouteKeyReused(field="route_key")


def _id(channel: Channel) -> str:
    return channel.channel_id
