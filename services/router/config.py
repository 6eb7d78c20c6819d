"""The settings of the router."""

from pydantic_settings import SettingsConfigDict

from libs.config import ServiceSettings


class Settings(ServiceSettings):
    """Read from FISC_ROUTER_*."""

    model_config = SettingsConfigDict(env_prefix="FISC_ROUTER_")
