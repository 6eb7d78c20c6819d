"""Banks that speak ISO 20022: pain.001 out, pain.002 and camt.052/053/054 back, as files or over HTTP.

The messages are the standard's (iso20022.org, payments initiation and cash management); which version a bank reads is a
setting. Over HTTP they are signed by RFC 9421 with the digest of RFC 9530; as files they carry a SHA-256 beside them.
"""
