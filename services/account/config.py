"""What the account service is told by its environment (`FISC_ACCOUNT_…`)."""

import zoneinfo
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from libs.config import ServiceSettings


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("not a time zone of the IANA database") from error
    return name


class Settings(ServiceSettings):
    """Settings of the account service."""

    model_config = SettingsConfigDict(
        env_prefix="FISC_ACCOUNT_",
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    # A transfer that names no effective date belongs to the day it is in this zone.
    booking_zone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Shanghai"
    # More writers than this wait for each other's rows rather than work.
    writers: int = Field(default=2, ge=1)
    # Few callers wait for each other's company; many find it in the queue while both writers are at work.
    linger_max_s: float = Field(default=0.015, ge=0)
    # Where tables belong to another role than the one that serves: who owns them, for migrations.
    owner_database_url: str = ""
    # How far from the booking day a transfer's effective date may lie.
    effective_back_days_max: int = Field(default=3_660, ge=0)
    effective_ahead_days_max: int = Field(default=3_660, ge=0)
    hold_expiry_interval_s: float = Field(default=1.0, gt=0)
    closing_interval_s: float = Field(default=30.0, gt=0)
    imbalance_interval_s: float = Field(default=30.0, gt=0)
