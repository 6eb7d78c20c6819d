"""WeChat Pay API v3, direct merchant, native QR payments.

Wire facts: pay.weixin.qq.com documentation of API v3 (signature, callback, native payment, refund,
bills) and the MIT-licensed OpenAPI tree TheNorthMemory/wechatpay-openapi.
"""
