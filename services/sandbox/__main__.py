"""Runs the sandbox: `python -m services.sandbox`."""

import uvloop

from libs import config, log, telemetry
from services.sandbox import app, server
from services.sandbox.config import Settings


def main() -> None:
    """Read the settings, open the book, serve until a signal."""
    settings = config.load(Settings)
    log.configure("sandbox", settings.log_level, settings.log_format)
    telemetry.start_metrics_server(settings.host, settings.metrics_port)
    application = app.build(
        settings.data_dir,
        app.Options(
            seed=settings.seed,
            callback_backoff_s=settings.callback_backoff_s,
            bill_ready_hour=settings.bill_ready_hour,
            bill_byte_order_mark=settings.bill_byte_order_mark,
            control_open=settings.control_open,
        ),
    )
    log.get_logger().info(
        "sandbox started", host=settings.host, port=settings.http_port, data=str(settings.data_dir)
    )
    uvloop.run(server.build(application, settings.host, settings.http_port).serve())


if __name__ == "__main__":
    main()
