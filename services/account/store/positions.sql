-- What companies of a group owe one another, and what is in transit.

-- name: list_positions
SELECT tenant_id, currency, creditor_id, debtor_id,
       coalesce(sum(posted_minor) FILTER (WHERE role = 'DUE_FROM'), 0)::numeric AS due_from_minor,
       coalesce(sum(posted_minor) FILTER (WHERE role = 'DUE_TO'), 0)::numeric AS due_to_minor,
       coalesce(array_agg(account_id ORDER BY account_id) FILTER (WHERE role = 'DUE_FROM'), '{}')
           AS due_from_account_ids,
       coalesce(array_agg(account_id ORDER BY account_id) FILTER (WHERE role = 'DUE_TO'), '{}')
           AS due_to_account_ids
  FROM (SELECT account_id, role, currency, tenant_id,
               CASE role WHEN 'DUE_FROM' THEN owner_id ELSE counterparty_id END
                   COLLATE "C" AS creditor_id,
               CASE role WHEN 'DUE_FROM' THEN counterparty_id ELSE owner_id END
                   COLLATE "C" AS debtor_id,
               CASE role WHEN 'DUE_FROM' THEN debits_minor - credits_minor
                         ELSE credits_minor - debits_minor END AS posted_minor
          FROM account
          JOIN account_balance USING (account_id, role, currency)
         WHERE role IN ('DUE_FROM', 'DUE_TO')
           AND ($1 = '' OR owner_id = $1 OR counterparty_id = $1)
           AND ($2 = '' OR currency = $2)) AS side
 WHERE (tenant_id, currency COLLATE "C", creditor_id, debtor_id) > ($4, $5, $6, $7)
 GROUP BY tenant_id, currency, creditor_id, debtor_id
HAVING NOT $3
    OR sum(posted_minor) FILTER (WHERE role = 'DUE_FROM') <> 0
    OR sum(posted_minor) FILTER (WHERE role = 'DUE_TO') <> 0
 ORDER BY tenant_id, currency COLLATE "C", creditor_id, debtor_id
 LIMIT $8

-- name: list_in_transit
-- Accounts of money in transit with what stood before the entries that are looked at, their latest.
SELECT account_id, currency, debits_minor - credits_minor AS posted_minor,
       greatest(sequence - $4::bigint, 0) AS looked_after, sequence,
       coalesce(
           (SELECT debit_balance_after_minor FROM transfer
             WHERE debit_account_id = account_id AND debit_sequence = sequence - $4::bigint),
           (SELECT credit_balance_after_minor FROM transfer
             WHERE credit_account_id = account_id AND credit_sequence = sequence - $4::bigint),
           0) AS earlier_minor
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE role = 'IN_TRANSIT'
   AND account_id > $1
   AND ($2 = '' OR currency = $2)
 ORDER BY account_id
 LIMIT $3

-- name: list_unmatched
-- References whose entries do not cancel one another, the oldest first, and how many there are; each entry without one by itself.
SELECT reference, amount_minor, since, count(*) OVER () AS items_count
  FROM (SELECT reference, sum(CASE direction WHEN 'DEBIT' THEN amount_minor ELSE -amount_minor END)
                   ::numeric AS amount_minor, min(booked_at) AS since, min(sequence) AS first
          FROM entry
         WHERE account_id = $1
           AND sequence > $2
           AND sequence <= $3
         GROUP BY reference, CASE reference WHEN '' THEN sequence END) AS summed
 WHERE amount_minor <> 0
 ORDER BY first
 LIMIT $4
