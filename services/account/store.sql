-- Writers take locks in one order: known holds, then balances, then new rows; each by ascending id.
-- So no two of them can wait for each other.

-- name: lock_holds
SELECT hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference, expires_at,
       state, captured_minor
  FROM hold
 WHERE hold_id = ANY($1::text[])
 ORDER BY hold_id
   FOR UPDATE

-- name: lock_balances
SELECT account_id, role, currency, debits_minor, credits_minor, held_minor, sequence
  FROM account_balance
 WHERE account_id = ANY($1::text[])
 ORDER BY account_id
   FOR UPDATE

-- name: get_transfers
SELECT transfer_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
       description, effective_on
  FROM transfer
 WHERE transfer_id = ANY($1::text[])

-- name: insert_holds
INSERT INTO hold (hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
                  expires_at, state, captured_minor)
SELECT *
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
              $7::timestamptz[], $8::text[], $9::bigint[]) AS given (hold_id)
 ORDER BY hold_id

-- name: update_holds
UPDATE hold
   SET state = given.state, captured_minor = given.captured_minor
  FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (hold_id, state, captured_minor)
 WHERE hold.hold_id = given.hold_id

-- name: save_bookings
WITH booked AS (
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                  $7::text[], $8::date[], $9::timestamptz[], $10::bigint[], $11::bigint[],
                  $12::bigint[], $13::bigint[])
        AS given (transfer_id, debit_account_id, credit_account_id, currency, amount_minor,
                  reference, description, effective_on, booked_at, debit_sequence, debit_balance,
                  credit_sequence, credit_balance)
), transfers AS (
    INSERT INTO transfer (transfer_id, debit_account_id, credit_account_id, currency, amount_minor,
                          reference, description, effective_on, booked_at)
    SELECT transfer_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
           description, effective_on, booked_at
      FROM booked
     ORDER BY transfer_id
), entries AS (
    INSERT INTO entry (account_id, sequence, transfer_id, direction, amount_minor,
                       balance_after_minor)
    SELECT debit_account_id, debit_sequence, transfer_id, 'DEBIT', amount_minor, debit_balance
      FROM booked
     UNION ALL
    SELECT credit_account_id, credit_sequence, transfer_id, 'CREDIT', amount_minor, credit_balance
      FROM booked
)
UPDATE account_balance AS balance
   SET debits_minor = given.debits_minor,
       credits_minor = given.credits_minor,
       held_minor = given.held_minor,
       sequence = given.sequence
  FROM unnest($14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])
    AS given (account_id, debits_minor, credits_minor, held_minor, sequence)
 WHERE balance.account_id = given.account_id

-- name: get_accounts
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at
  FROM account
 WHERE account_id = ANY($1::text[])

-- name: insert_accounts
WITH given AS (
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                  $7::timestamptz[])
        AS given (account_id, owner_id, role, currency, display_name, parent_id, opened_at)
), accounts AS (
    INSERT INTO account (account_id, owner_id, role, currency, display_name, parent_id, opened_at)
    SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at
      FROM given
     ORDER BY account_id
)
INSERT INTO account_balance (account_id, role, currency)
SELECT account_id, role, currency
  FROM given
 ORDER BY account_id

-- name: list_accounts
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, debits_minor,
       credits_minor, held_minor, sequence
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE account_id > $1
   AND ($2 = '' OR owner_id = $2)
   AND ($3 = '' OR role = $3)
 ORDER BY account_id
 LIMIT $4

-- name: get_account
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, debits_minor,
       credits_minor, held_minor, sequence
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE account_id = $1

-- name: get_balances
SELECT account_id, role, currency, debits_minor, credits_minor, held_minor, sequence
  FROM account_balance
 WHERE account_id = ANY($1::text[])

-- name: list_entries
SELECT entry.sequence, entry.transfer_id, entry.direction, transfer.currency, entry.amount_minor,
       entry.balance_after_minor, transfer.reference, transfer.description, transfer.booked_at,
       transfer.effective_on,
       CASE entry.direction
           WHEN 'DEBIT' THEN transfer.credit_account_id
           ELSE transfer.debit_account_id
       END AS counter_account_id
  FROM entry
  JOIN transfer USING (transfer_id)
 WHERE entry.account_id = $1
   AND entry.sequence > $2
 ORDER BY entry.sequence
 LIMIT $3

-- name: sum_balances
SELECT role, currency, count(*) AS accounts, sum(debits_minor)::numeric AS debits_minor,
       sum(credits_minor)::numeric AS credits_minor, sum(sequence)::numeric AS entries
  FROM account_balance
 WHERE $1 = '' OR currency = $1
 GROUP BY role, currency
 ORDER BY currency, role

-- name: get_due_hold_ids
SELECT hold_id
  FROM hold
 WHERE state = 'HELD'
   AND expires_at <= $1
 ORDER BY expires_at
 LIMIT $2

-- name: sum_imbalances
-- What the balances say, and the first entry of each account that its balance does not count. One
-- look into the key for each account: entries number every account's own 1, 2, 3 …
SELECT currency,
       sum(debits_minor - credits_minor + coalesce((
           SELECT CASE direction WHEN 'DEBIT' THEN amount_minor ELSE -amount_minor END
             FROM entry
            WHERE entry.account_id = account_balance.account_id
              AND entry.sequence > account_balance.sequence
            ORDER BY entry.sequence
            LIMIT 1
       ), 0))::numeric AS imbalance_minor
  FROM account_balance
 GROUP BY currency
