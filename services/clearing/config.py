"""Settings of clearing, from FISC_CLEARING_* and the targets of the services it calls."""

from typing import TypedDict

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from libs.config import ServiceSettings


class DefaultPlan(TypedDict):
    """The terms of the plan that holds for merchants that have none."""

    rate_ppm: int
    fixed_minor: int
    payout_fixed_minor: int
    fee_refundable: bool
    settle_delay_days: int


class Settings(ServiceSettings):
    """What an operator can choose. The default plan holds for merchants that have none."""

    model_config = SettingsConfigDict(env_prefix="FISC_CLEARING_")

    gateway_target: str = Field(validation_alias="FISC_GATEWAY_TARGET", min_length=1)
    router_target: str = Field(validation_alias="FISC_ROUTER_TARGET", min_length=1)
    account_target: str = Field(validation_alias="FISC_ACCOUNT_TARGET", min_length=1)
    operator_token: SecretStr = Field(validation_alias="FISC_OPERATOR_TOKEN", min_length=1)

    default_rate_ppm: int = Field(default=6_000, ge=0, le=1_000_000)
    default_fixed_minor: int = Field(default=0, ge=0)
    default_payout_fixed_minor: int = Field(default=0, ge=0)
    default_fee_refundable: bool = True
    default_settle_delay_days: int = Field(default=1, ge=0, le=30)

    # True books a batch when its day is closed, which is on or after its settlement day in a T+1 house.
    settle_on_close: bool = True
    # True counts weekend days worked to make up for a long holiday as settlement days.
    settle_on_makeup_weekends: bool = False
    # Currencies whose platform accounts are opened at the start; others when they are first booked.
    platform_currencies: tuple[str, ...] = ("CNY",)
    channel_refresh_s: float = Field(default=30.0, gt=0, le=3_600)

    def default_plan(self) -> DefaultPlan:
        """The default plan's terms by name."""
        return DefaultPlan(
            rate_ppm=self.default_rate_ppm,
            fixed_minor=self.default_fixed_minor,
            payout_fixed_minor=self.default_payout_fixed_minor,
            fee_refundable=self.default_fee_refundable,
            settle_delay_days=self.default_settle_delay_days,
        )
