"""Alipay Open API (`gateway.do`, RSA2), direct merchant: QR, page, phone page, app, mini program and
code payments, refunds, transfers, royalties, bills.

Wire facts: opendocs.alipay.com (signature, asynchronous notification, trade, fund and bill interfaces).
"""
