"""What the exchange refuses; each wire protocol has its own word for it."""


class Conflict(Exception):
    """The reference is taken by a request with other content."""


class OrderUnknown(Exception):
    """No such order."""


class PayoutUnknown(Exception):
    """No such payout."""
