"""Risk decides whether an operation may go on: ALLOW, REVIEW (a person decides) or DENY, with every
rule that fired.

It owns the lists, the rules with their versions, the day totals, the decisions and the review
cases. It calls nobody; velocity counters lie in Redis, which holds no truth. It promises: one
evaluation_id has one decision, counted once, whatever is repeated; a day limit is never passed by
operations that run at the same time; a person's decision about a case stands and is told through
the event feed. The order of judgement: `domain/judgement.py`.
"""
