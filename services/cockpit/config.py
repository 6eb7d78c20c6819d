"""The settings of the cockpit."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_PORT_MAX = 65_535


class Settings(BaseSettings):
    """Read from FISC_COCKPIT_*; the services' targets from FISC_<SERVICE>_TARGET."""

    model_config = SettingsConfigDict(
        env_prefix="FISC_COCKPIT_",
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=_PORT_MAX)
    metrics_port: int = Field(ge=0, le=_PORT_MAX)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    gateway_target: str = Field(validation_alias="FISC_GATEWAY_TARGET", min_length=1)
    router_target: str = Field(validation_alias="FISC_ROUTER_TARGET", min_length=1)
    risk_target: str = Field(validation_alias="FISC_RISK_TARGET", min_length=1)
    account_target: str = Field(validation_alias="FISC_ACCOUNT_TARGET", min_length=1)
    clearing_target: str = Field(validation_alias="FISC_CLEARING_TARGET", min_length=1)
    notification_target: str = Field(validation_alias="FISC_NOTIFICATION_TARGET", min_length=1)
    operator_token: SecretStr = Field(validation_alias="FISC_OPERATOR_TOKEN", min_length=1)
