"""Settings of risk, from FISC_RISK_* and FISC_REDIS_URL."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.config import ServiceSettings


class Settings(ServiceSettings):
    """What an operator can choose."""

    model_config = SettingsConfigDict(env_prefix="FISC_RISK_")

    redis_url: str = Field(validation_alias="FISC_REDIS_URL", min_length=1)
    # The verdict on operations that velocity rules apply to while Redis does not answer. "allow"
    # keeps payments going when a cache dies, with limits of amounts still in force;
    # risk_velocity_unavailable_total counts what it let by.
    velocity_fallback: Literal["allow", "review", "deny"] = "allow"
    velocity_timeout_s: float = Field(default=0.25, gt=0, le=2)
    book_refresh_s: float = Field(default=0.5, gt=0, le=60)
