"""A service says everything that is wrong with its settings, and never says a value."""

import pytest
from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from libs import config


class Settings(config.ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="FISC_DEMO_")

    redis_url: str = Field(validation_alias="FISC_REDIS_URL")
    limit: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _ports_differ(self) -> "Settings":
        if self.grpc_port == self.metrics_port:
            raise ValueError("grpc_port and metrics_port must differ")
        return self


@pytest.fixture(autouse=True)
def good_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FISC_DEMO_GRPC_PORT", "7401")
    monkeypatch.setenv("FISC_DEMO_METRICS_PORT", "7421")
    monkeypatch.setenv("FISC_DEMO_DATABASE_URL", "postgresql://localhost/demo")
    monkeypatch.setenv("FISC_REDIS_URL", "redis://localhost")


def test_settings_come_from_prefixed_and_from_shared_variables() -> None:
    settings = config.load(Settings)
    assert settings.grpc_port == 7401
    assert settings.redis_url == "redis://localhost"
    assert (settings.log_format, settings.db_pool_size) == ("json", 8)


def test_every_problem_is_printed_at_once_by_variable_name_and_without_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FISC_DEMO_GRPC_PORT", "hush-hush")
    monkeypatch.setenv("FISC_DEMO_LIMIT", "0")
    monkeypatch.delenv("FISC_DEMO_DATABASE_URL")
    monkeypatch.delenv("FISC_REDIS_URL")
    with pytest.raises(SystemExit) as exit_info:
        config.load(Settings)
    assert exit_info.value.code == 2
    printed = capsys.readouterr().err
    for variable in (
        "FISC_DEMO_GRPC_PORT",
        "FISC_DEMO_LIMIT",
        "FISC_DEMO_DATABASE_URL",
        "FISC_REDIS_URL",
    ):
        assert f"  {variable}: " in printed
    assert "hush-hush" not in printed


def test_a_rule_over_several_settings_is_reported_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FISC_DEMO_METRICS_PORT", "7401")
    with pytest.raises(SystemExit):
        config.load(Settings)
    assert "must differ" in capsys.readouterr().err


def test_settings_do_not_change() -> None:
    settings = config.load(Settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.limit = 4


def test_a_test_may_give_settings_by_field_name() -> None:
    assert Settings(redis_url="redis://elsewhere").redis_url == "redis://elsewhere"  # type: ignore[call-arg]  # the rest is in the environment
