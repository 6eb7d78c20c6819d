"""The ledger: every movement of value between the accounts of the house.

Decides which transfers and holds are booked. Owns the chart of accounts, virtual accounts, balances,
transfers, entries and holds, and on which real accounts all of it stands. Calls nobody. Promises: debits equal credits in every snapshot, a
transfer id is booked at most once, no merchant's available money falls below zero, and what is
booked is never changed or removed.
"""
