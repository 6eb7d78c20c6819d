"""All SQL of the gateway: sagas.py for payments, refunds, payouts and attempts, registry.py for merchants, keys, channels and callbacks."""
