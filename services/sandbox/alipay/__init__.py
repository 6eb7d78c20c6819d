"""Alipay as its documentation says: `gateway.do`, trades, refunds, transfers, royalties, notices, bills."""
