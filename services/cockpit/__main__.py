"""Runs the cockpit: `python -m services.cockpit`."""

import contextlib

import grpc
import uvloop

from libs import config, log, ports, telemetry, web
from libs.clock import SystemClock
from libs.rpc import client
from services.cockpit import workers
from services.cockpit.clients.feed import GatewayFeed
from services.cockpit.clients.sources import Channels, GrpcSources
from services.cockpit.config import Settings
from services.cockpit.handlers import app
from services.cockpit.usecases import Cockpit


async def main(settings: Settings) -> None:
    """Open a channel to every service, serve until a signal, close them."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(target: str, peer: str) -> grpc.aio.Channel:
            return await stack.enter_async_context(client.open_channel(target, peer=peer))

        channels = Channels(
            gateway=await connect(settings.gateway_target, "gateway"),
            router=await connect(settings.router_target, "router"),
            risk=await connect(settings.risk_target, "risk"),
            account=await connect(settings.account_target, "account"),
            clearing=await connect(settings.clearing_target, "clearing"),
            notification=await connect(settings.notification_target, "notification"),
        )
        metadata = (("authorization", f"Bearer {settings.operator_token.get_secret_value()}"),)
        cockpit = Cockpit(GrpcSources(channels, metadata), SystemClock())
        feed = GatewayFeed(channels.gateway, metadata)
        application = app.build(cockpit, background=workers.running(cockpit, feed))
        log.get_logger().info("serving", host=settings.host, port=settings.http_port)
        await web.serve(
            application,
            service="cockpit",
            host=settings.host,
            port=settings.http_port,
            options=web.Options(on_stop=application.state.live.close),
        )


if __name__ == "__main__":
    loaded = config.load(Settings)
    log.configure("cockpit", loaded.log_level, loaded.log_format)
    with ports.needed("cockpit", loaded.host, loaded.metrics_port):
        telemetry.start_metrics_server(loaded.host, loaded.metrics_port)
    uvloop.run(main(loaded))
