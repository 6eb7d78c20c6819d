"""Settings come from the environment and are refused together when wrong."""

import pytest
from cryptography.fernet import Fernet

from libs import config
from services.notification.config import Settings

DAY_S = 86_400


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {
        "FISC_NOTIFICATION_GRPC_PORT": "7405",
        "FISC_NOTIFICATION_METRICS_PORT": "7425",
        "FISC_NOTIFICATION_DATABASE_URL": "postgresql://own",
        "FISC_NOTIFICATION_SEAL_KEY": Fernet.generate_key().decode(),
        "FISC_GATEWAY_TARGET": "127.0.0.1:7400",
        "FISC_CLEARING_TARGET": "127.0.0.1:7404",
        "FISC_OPERATOR_TOKEN": "made up",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_retries_span_about_three_days_and_nothing_private_is_allowed_by_default(
    environ: pytest.MonkeyPatch,
) -> None:
    settings = config.load(Settings)
    assert 3 * DAY_S < sum(settings.retry_delays_s) < 3.5 * DAY_S
    assert not settings.allow_private_endpoints
    assert not settings.allow_http


def test_the_schedule_is_a_list_with_commas(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("FISC_NOTIFICATION_RETRY_DELAYS_S", "0.1, 2,30")
    assert config.load(Settings).retry_delays_s == (0.1, 2.0, 30.0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FISC_NOTIFICATION_SEAL_KEY", "short"),
        ("FISC_NOTIFICATION_RETRY_DELAYS_S", "5,soon"),
        ("FISC_NOTIFICATION_RETRY_DELAYS_S", "5,-1"),
        ("FISC_NOTIFICATION_LEASE_S", "15"),
        ("FISC_OPERATOR_TOKEN", ""),
    ],
)
def test_wrong_settings_end_the_process_before_it_serves(
    environ: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
) -> None:
    environ.setenv(variable, value)
    with pytest.raises(SystemExit):
        config.load(Settings)
    assert "configuration is wrong" in capsys.readouterr().err
