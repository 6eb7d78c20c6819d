"""Sagas (长事务): long business transactions that survive crashes, time-outs and deploys, on plain rows of Postgres.

A flow is a pure function of what stands in a row and what happened. `flow` has its words, `driver` decides, saves and acts, `table`
keeps the rows, `sweeper` takes up what nobody is working on, `gauges` tells the on-call.
"""
