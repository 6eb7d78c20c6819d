"""The routing view: channels and arms in memory, so that a plan costs no query."""

from collections.abc import Iterable, Mapping

from services.router.domain.channel import Channel
from services.router.domain.statistics import Arm, ArmKey


class RoutingView:
    """What this process knows of channels and arms; at most one refresh behind the database.

    Own writes enter at once. A reload that began before such a write must not undo it, hence
    `begin_reload`: what was written since then is kept when the reload comes in.
    """

    def __init__(self) -> None:
        self.loaded = False
        self._channels: dict[str, Channel] = {}
        self._arms: dict[ArmKey, Arm] = {}
        self._channels_written: set[str] = set()
        self._arms_written: set[ArmKey] = set()

    @property
    def channels(self) -> Iterable[Channel]:
        """All channels."""
        return self._channels.values()

    @property
    def arms(self) -> Mapping[ArmKey, Arm]:
        """All arms with outcomes in the window."""
        return self._arms

    def write_channel(self, channel: Channel) -> None:
        """Take in an own, committed write."""
        self._channels[channel.channel_id] = channel
        self._channels_written.add(channel.channel_id)

    def write_arms(self, arms: Mapping[ArmKey, Arm]) -> None:
        """Take in an own, committed write."""
        self._arms.update(arms)
        self._arms_written.update(arms)

    def begin_reload(self) -> None:
        """To be called before the database is read."""
        self._channels_written.clear()
        self._arms_written.clear()

    def finish_reload(self, channels: Iterable[Channel], arms: Mapping[ArmKey, Arm]) -> None:
        """Replace everything but what was written since `begin_reload`."""
        kept_channels = {
            channel_id: self._channels[channel_id] for channel_id in self._channels_written
        }
        kept_arms = {key: self._arms[key] for key in self._arms_written}
        self._channels = {channel.channel_id: channel for channel in channels} | kept_channels
        self._arms = dict(arms) | kept_arms
        self.loaded = True
