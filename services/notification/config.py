"""What notification is told by its environment (`FISC_NOTIFICATION_…`)."""

from typing import Annotated, Any, Self

from cryptography.fernet import Fernet
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from libs.config import ServiceSettings

_MINUTE_S = 60.0
_HOUR_S = 60 * _MINUTE_S


def _fernet_key(value: SecretStr) -> SecretStr:
    try:
        Fernet(value.get_secret_value())
    except ValueError as error:
        raise ValueError("not a Fernet key: url-safe base64 of 32 bytes") from error
    return value


def _split(value: Any) -> Any:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


class Settings(ServiceSettings):
    """Settings of notification."""

    model_config = SettingsConfigDict(
        env_prefix="FISC_NOTIFICATION_",
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    gateway_target: str = Field(validation_alias="FISC_GATEWAY_TARGET", min_length=1)
    clearing_target: str = Field(validation_alias="FISC_CLEARING_TARGET", min_length=1)
    # What gateway asks of whoever reads its event feed.
    operator_token: SecretStr = Field(validation_alias="FISC_OPERATOR_TOKEN", min_length=1)
    seal_key: Annotated[SecretStr, AfterValidator(_fernet_key)]

    # Waits between attempts, in seconds, separated by commas; after the last attempt a delivery is dead.
    retry_delays_s: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...], NoDecode, BeforeValidator(_split)
    ] = (
        5.0,
        5 * _MINUTE_S,
        30 * _MINUTE_S,
        2 * _HOUR_S,
        5 * _HOUR_S,
        10 * _HOUR_S,
        14 * _HOUR_S,
        20 * _HOUR_S,
        24 * _HOUR_S,
    )
    attempt_timeout_s: float = Field(default=15.0, gt=0)
    # How long a crashed process keeps others from a delivery it was sending.
    lease_s: float = Field(default=60.0, gt=0)
    concurrency_max: int = Field(default=64, ge=1)
    endpoint_concurrency_max: int = Field(default=8, ge=1)
    poll_interval_s: float = Field(default=0.2, gt=0)
    # For suites on one machine only: they open our own network to whoever registers an endpoint.
    allow_private_endpoints: bool = False
    allow_http: bool = False

    @model_validator(mode="after")
    def _lease_outlives_attempt(self) -> Self:
        if self.lease_s <= self.attempt_timeout_s:
            raise ValueError("lease_s must be longer than attempt_timeout_s")
        return self
