"""Clearing: says what each party is owed and when, and whether the channels agree.

Owns clearing items, fee plans, the channels' statements, matches and differences, settlement batches and vouchers.
Calls gateway (event feed, bills), router (channels' days) and account (bookings). Promises: each succeeded operation
is one item; a bill is believed only when its own totals add up; every disagreement is a difference with a state; a
batch is the sum of its items and is booked once; every voucher balances; closing a day again only adds what was missing.
"""
