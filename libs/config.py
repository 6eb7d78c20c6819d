"""Settings come from the environment, are checked once at start, and then never change."""

import sys
from typing import Literal, TypeVar

import pydantic
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

EXIT_BAD_CONFIGURATION = 2
_PORT_MAX = 65_535


class ServiceSettings(BaseSettings):
    """What every service needs; a subclass adds its own and sets `env_prefix="FISC_<SERVICE>_"`.

    A field `x` is read from `FISC_<SERVICE>_X`. One that several services share names its variable
    itself: `redis_url: str = Field(validation_alias="FISC_REDIS_URL")`.
    """

    model_config = SettingsConfigDict(
        env_prefix="FISC_",
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    grpc_port: int = Field(ge=0, le=_PORT_MAX)
    metrics_port: int = Field(ge=0, le=_PORT_MAX)
    database_url: str = Field(min_length=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    db_pool_size: int = Field(default=8, ge=1)
    drain_grace_s: float = Field(default=5.0, ge=0)


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S]) -> S:
    """Read the settings, or print every problem to stderr at once and exit with status 2.

    Values are never printed: they may be secrets.
    """
    try:
        return settings_class.model_validate({})
    except ValidationError as error:
        problems = [
            f"{_variable(settings_class, problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
    raise _refusal(problems)


def _refusal(problems: list[str]) -> SystemExit:
    lines = ["configuration is wrong:", *(f"  {problem}" for problem in problems)]
    sys.stderr.write("\n".join(lines) + "\n")
    return SystemExit(EXIT_BAD_CONFIGURATION)


def _variable(settings_class: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    """Name the environment variable behind the place of an error."""
    if not location:
        return settings_class.__name__
    name, *inner = (str(part) for part in location)
    field = settings_class.model_fields.get(name)
    if field is None:  # the place of a field with an alias is the alias itself
        variable = name
    elif isinstance(field.validation_alias, str):
        variable = field.validation_alias
    elif isinstance(field.validation_alias, pydantic.AliasChoices):
        variable = str(field.validation_alias.choices[0])
    else:
        variable = f"{settings_class.model_config.get('env_prefix', '')}{name}".upper()
    return ".".join([variable, *inner])
