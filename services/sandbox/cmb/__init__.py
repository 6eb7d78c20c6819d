"""Plays CMB cloud direct (招商银行 云直联): one company's account, over HTTP, with the bank's envelope and words."""
