"""Runs the sandbox: `python -m services.sandbox`."""

import uvloop

from libs import config, log, ports, telemetry, web
from services.sandbox import app, transport
from services.sandbox.config import Settings


def main() -> None:
    """Read the settings, open the book, serve until a signal."""
    settings = config.load(Settings)
    log.configure("sandbox", settings.log_level, settings.log_format)
    with ports.needed("sandbox", settings.host, settings.metrics_port):
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
    uvloop.run(
        web.serve(
            application,
            service="sandbox",
            host=settings.host,
            port=settings.http_port,
            options=transport.OPTIONS,
        )
    )


if __name__ == "__main__":
    main()
