"""Many concurrent calls, one batch: a message or a commit of 64 items costs little more than one of one.

`coalescer` gathers and hands out, `linger` decides how long a batch waits for company, `lanes` keeps what waits and takes turns among
those who sent it.
"""
