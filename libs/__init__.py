"""What at least two services need, and nothing else.

`errors`, `money`, `ids` and `clock` import nothing that waits, so that pure `domain` code may use
the first three; the rest of the package is for the layers around it.
"""
