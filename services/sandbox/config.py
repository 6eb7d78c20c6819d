"""Settings of the sandbox process, read from `FISC_SANDBOX_*`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the sandbox listens, where it keeps its book, and how it behaves by default."""

    model_config = SettingsConfigDict(env_prefix="FISC_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    http_port: int = Field(default=7409, ge=0, le=65535)
    metrics_port: int = Field(default=7429, ge=0, le=65535)
    data_dir: Path = Path(".fisc/sandbox")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    seed: str = "fisc"
    """Mixed into every chance, so that another seed is another world."""
    callback_backoff_s: tuple[float, ...] = (0.25, 1, 3, 10, 30, 60, 300)
    """Waits between deliveries of an unacknowledged callback; after the last it is given up."""
    bill_ready_hour: int = Field(default=0, ge=0, le=23)
    """Hour of the next business day from which a day's bill exists (a real channel: 9 or 10)."""
    bill_byte_order_mark: bool = True
    """Whether a WeChat bill begins with a UTF-8 byte order mark, as some real ones do."""
    control_open: bool = False
    """Whether `/control` also answers callers that are not on the loopback interface."""
