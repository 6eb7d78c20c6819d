"""CMB cloud direct (招商银行 云直联): payouts, balance and transactions of a company's account over HTTP.

Requests and answers are JSON, signed with SM2 and SM3, sealed with SM4. The bank's own documents are for its customers
alone; field names and rules here are those that published clients agree on. What they do not agree on is a setting of
the channel (`settings`), and docs/decisions/0028 lists it.
"""
