"""The gateway: the one public API over every payment channel.

It decides the life of a payment, refund and payout. It owns merchants and their API keys, payments, attempts, refunds, payouts,
the callback inbox, the event log and the channels' credentials. It calls risk, router and account over gRPC, and the channels over
HTTP. It promises: what it acknowledged is never lost; the same request_id gives the same answer; nobody is charged twice;
a payment is never FAILED while money may have moved.
"""
