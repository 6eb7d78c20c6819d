"""The view in memory never forgets a write of its own."""

from datetime import UTC, datetime

from services.router.domain.channel import (
    Channel,
    ChannelStatus,
    FeeSchedule,
    Method,
    Operation,
)
from services.router.domain.statistics import Arm, ArmKey, Counts, Recent
from services.router.domain.view import RoutingView

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = ArmKey("alpha", Method.CARD, Operation.PAYMENT)


def channel(display_name: str) -> Channel:
    return Channel(
        channel_id="alpha",
        provider="simpay",
        display_name=display_name,
        status=ChannelStatus.ENABLED,
        methods=(Method.CARD,),
        operations=(Operation.PAYMENT,),
        currencies=("CNY",),
        amount_minimum_minor=0,
        amount_maximum_minor=0,
        fee=FeeSchedule(rate_ppm=0, fixed_minor=0, minimum_minor=0, maximum_minor=0),
        zone="UTC",
        cut_off="00:00",
        static_rank=0,
    )


def test_a_reload_that_began_before_an_own_write_does_not_undo_it() -> None:
    view = RoutingView()
    newer = Arm(window=Counts(samples=2), recent=Recent(successes=(True, True), last_at=NOON))
    view.begin_reload()
    view.write_channel(channel("new"))
    view.write_arms({KEY: newer})
    view.finish_reload([channel("old")], {KEY: Arm()})
    assert [each.display_name for each in view.channels] == ["new"]
    assert view.arms == {KEY: newer}


def test_a_reload_that_began_after_a_write_replaces_it_and_drops_what_is_gone() -> None:
    view = RoutingView()
    view.write_channel(channel("old"))
    view.write_arms({KEY: Arm()})
    view.begin_reload()
    view.finish_reload([channel("new")], {})
    assert [each.display_name for each in view.channels] == ["new"]
    assert not view.arms
