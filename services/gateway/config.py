"""The gateway's settings: FISC_GATEWAY_* and the addresses it shares with its neighbours."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from libs.config import ServiceSettings


class Settings(ServiceSettings):
    """Read once, by __main__."""

    model_config = SettingsConfigDict(env_prefix="FISC_GATEWAY_")

    callback_host: str = "127.0.0.1"
    callback_port: int = Field(ge=0, le=65_535)
    callback_base_url: str = Field(min_length=1)
    """Where channels reach our callback door from outside."""
    seal_key: SecretStr
    """Fernet keys that seal channel credentials, newest first, comma-separated."""
    channel_timeout_s: float = Field(default=5.0, gt=0, le=5)
    db_pool_size: int = Field(default=16, ge=4)
    in_flight_max: int = Field(default=192, ge=1)
    """Calls that begin new work and may be under way at once; beyond it they are refused."""
    merchant_in_flight_max: int = Field(default=0, ge=0)
    """What one merchant may have of them; 0 is half."""
    operator_token: SecretStr = Field(validation_alias="FISC_OPERATOR_TOKEN", min_length=16)
    risk_target: str = Field(validation_alias="FISC_RISK_TARGET")
    router_target: str = Field(validation_alias="FISC_ROUTER_TARGET")
    account_target: str = Field(validation_alias="FISC_ACCOUNT_TARGET")
