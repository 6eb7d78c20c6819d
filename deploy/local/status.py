"""How a running suite stands, in a few lines."""

import asyncio

from rich.console import Console

from deploy.local import environment, probes
from deploy.local.clients import Platform, explained
from fisc.account.v1 import account_pb2
from fisc.clearing.v1 import clearing_pb2
from fisc.gateway.v1 import operations_pb2


async def show(platform: Platform, out: Console) -> bool:
    """Print it; whether everything serves and the ledger sums to zero. Raises LocalError."""
    settings = platform.settings
    names = (*environment.SERVICES, *environment.WEB_SERVERS)
    async with asyncio.TaskGroup() as group:
        asked = {
            name: group.create_task(
                (probes.grpc_serving if name in environment.SERVICES else probes.http_healthy)(
                    settings.host, settings.port(name)
                )
            )
            for name in names
        }
    serving = {name: task.result() for name, task in asked.items()}
    for name, is_serving in serving.items():
        word = "serves" if is_serving else "DOES NOT SERVE"
        out.print(f"  {name:<13} {settings.host}:{settings.port(name)}  {word}")
    if not all(serving.values()):
        return False
    with explained("asking how the suite stands"):
        backlog = await platform.call(
            platform.operations.GetBacklog, operations_pb2.GetBacklogRequest()
        )
        trial = await platform.call(
            platform.account.GetTrialBalance, account_pb2.GetTrialBalanceRequest()
        )
        report = (
            await platform.call(platform.clearing.GetDayReport, clearing_pb2.GetDayReportRequest())
        ).report
    waiting = sum(line.count for line in backlog.lines)
    out.print(f"  under way: {waiting}, events not pushed: {backlog.events_unpushed}")
    out.print(f"  ledger: {trial.transfers_count} transfers, sum {trial.imbalance_minor}")
    if report.business_date:
        out.print(
            f"  latest day {report.business_date}: {report.payments_count} payments, "
            f"{report.refunds_count} refunds, {report.payouts_count} payouts, "
            f"{report.differences_open_count} open differences, "
            f"{'closed' if report.closed else 'open'}"
        )
    return trial.imbalance_minor == 0
