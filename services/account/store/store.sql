-- Writers take locks in one order: a chain's head, then known groups of holds, then known holds, then balances, then new
-- rows; each by ascending id. So no two of them can wait for each other.

-- name: take_free_head
-- The chain that lags behind, so that all stay near one another.
SELECT chain, number, hash
  FROM chain_head
 ORDER BY number, chain
 LIMIT 1
   FOR UPDATE SKIP LOCKED

-- name: wait_for_head
SELECT chain, number, hash
  FROM chain_head
 ORDER BY random()
 LIMIT 1
   FOR UPDATE

-- name: lock_groups
SELECT group_id, is_barred
  FROM hold_group
 WHERE group_id = ANY($1::text[])
 ORDER BY group_id
   FOR UPDATE

-- name: lock_holds
SELECT hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference, expires_at,
       state, captured_minor, group_id, captures
  FROM hold
 WHERE hold_id = ANY($1::text[])
 ORDER BY hold_id
   FOR UPDATE

-- name: lock_holds_and_groups
SELECT hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference, expires_at,
       state, captured_minor, group_id, captures
  FROM hold
 WHERE hold_id = ANY($1::text[])
    OR (group_id <> '' AND group_id = ANY($2::text[]))
 ORDER BY hold_id
   FOR UPDATE

-- name: lock_balances
SELECT account_id, role, currency, book_id, floor_minor, ceiling_minor, state, debits_minor,
       credits_minor, held_minor, sequence, version, booked_at
  FROM account_balance
 WHERE account_id = ANY($1::text[])
 ORDER BY account_id
   FOR UPDATE

-- name: get_transfers
SELECT transfer_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
       description, effective_on, balancing, requested_minor, keep_minor, reverses_transfer_id
  FROM transfer
 WHERE transfer_id = ANY($1::text[])

-- name: sum_reversals
SELECT reverses_transfer_id, sum(amount_minor)::bigint AS reversed_minor
  FROM transfer
 WHERE reverses_transfer_id = ANY($1::text[])
 GROUP BY reverses_transfer_id

-- name: insert_groups
-- Who places the first hold of a group and who bars it both write its row, so that one of them learns of the other.
INSERT INTO hold_group (group_id, is_barred)
SELECT *
  FROM unnest($1::text[], $2::boolean[]) AS given (group_id)
 ORDER BY group_id

-- name: bar_groups
UPDATE hold_group
   SET is_barred = true
 WHERE group_id = ANY($1::text[])

-- name: insert_holds
WITH given AS (
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                  $7::timestamptz[], $8::text[], $9::bigint[], $10::text[], $11::text[])
        AS given (hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
                  expires_at, state, captured_minor, group_id, captures)
), expiries AS (
    INSERT INTO hold_expiry (hold_id, expires_at)
    SELECT hold_id, expires_at
      FROM given
     WHERE expires_at IS NOT NULL
       AND state = 'HELD'
     ORDER BY hold_id
)
INSERT INTO hold (hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
                  expires_at, state, captured_minor, group_id, captures)
SELECT hold_id, debit_account_id, credit_account_id, currency, amount_minor, reference, expires_at,
       state, captured_minor, group_id, captures::jsonb
  FROM given
 ORDER BY hold_id

-- name: update_holds
UPDATE hold
   SET state = given.state, captured_minor = given.captured_minor, captures = given.captures::jsonb
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
    AS given (hold_id, state, captured_minor, captures)
 WHERE hold.hold_id = given.hold_id

-- name: forget_expiries
DELETE FROM hold_expiry
 WHERE hold_id = ANY($1::text[])

-- name: save_balances
-- Only over rows that have not moved since they were loaded; the count says whether all were. The ids are named
-- twice, so that the planner goes by the key however few accounts it knew of when it made its plan.
WITH balances AS (
    UPDATE account_balance AS balance
       SET debits_minor = given.debits_minor,
           credits_minor = given.credits_minor,
           held_minor = given.held_minor,
           sequence = given.sequence,
           version = given.version,
           booked_at = given.booked_at
      FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                  $6::bigint[], $7::timestamptz[], $8::bigint[])
        AS given (account_id, debits_minor, credits_minor, held_minor, sequence, version,
                  booked_at, version_before)
     WHERE balance.account_id = ANY($1::text[])
       AND balance.account_id = given.account_id
       AND balance.version = given.version_before
    RETURNING 1
)
SELECT count(*) FROM balances

-- name: save_batch
-- As save_balances, and the batch that seals what was booked with them.
WITH head AS (
    UPDATE chain_head
       SET number = $10, hash = $12
     WHERE chain = $9
       AND hash = $11
    RETURNING 1
), sealed AS (
    INSERT INTO batch (chain, number, previous_hash, hash, transfers_count, booked_at)
    VALUES ($9, $10, $11, $12, $13, $14)
), balances AS (
    UPDATE account_balance AS balance
       SET debits_minor = given.debits_minor,
           credits_minor = given.credits_minor,
           held_minor = given.held_minor,
           sequence = given.sequence,
           version = given.version,
           booked_at = given.booked_at
      FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                  $6::bigint[], $7::timestamptz[], $8::bigint[])
        AS given (account_id, debits_minor, credits_minor, held_minor, sequence, version,
                  booked_at, version_before)
     WHERE balance.account_id = ANY($1::text[])
       AND balance.account_id = given.account_id
       AND balance.version = given.version_before
    RETURNING 1
)
SELECT (SELECT count(*) FROM balances) * (SELECT count(*) FROM head)

-- name: get_changes
SELECT account_id, changed_at, reason, asks_state, asks_bounds, state_before, floor_before_minor,
       ceiling_before_minor, state_after, floor_after_minor, ceiling_after_minor
  FROM account_change
 WHERE request_id = $1
   AND account_id = ANY($2::text[])

-- name: save_changes
WITH records AS (
    INSERT INTO account_change (request_id, account_id, changed_at, reason, asks_state,
                                asks_bounds, state_before, floor_before_minor,
                                ceiling_before_minor, state_after, floor_after_minor,
                                ceiling_after_minor)
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::boolean[],
                  $6::boolean[], $7::text[], $8::bigint[], $9::bigint[], $10::text[],
                  $11::bigint[], $12::bigint[])
)
UPDATE account_balance AS balance
   SET state = given.state,
       floor_minor = given.floor_minor,
       ceiling_minor = given.ceiling_minor,
       version = given.version
  FROM unnest($13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[])
    AS given (account_id, state, floor_minor, ceiling_minor, version)
 WHERE balance.account_id = given.account_id

-- name: get_accounts
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, tenant_id,
       counterparty_id, floor_minor, ceiling_minor
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE account_id = ANY($1::text[])

-- name: insert_accounts
WITH given AS (
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                  $7::timestamptz[], $8::text[], $9::bigint[], $10::bigint[], $11::text[],
                  $12::text[], $13::boolean[])
        AS given (account_id, owner_id, role, currency, display_name, parent_id, opened_at,
                  tenant_id, floor_minor, ceiling_minor, counterparty_id, book_id,
                  is_credit_normal)
), accounts AS (
    INSERT INTO account (account_id, owner_id, role, currency, display_name, parent_id, opened_at,
                         tenant_id, counterparty_id, book_id)
    SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, tenant_id,
           counterparty_id, book_id
      FROM given
     ORDER BY account_id
)
INSERT INTO account_balance (account_id, role, currency, book_id, is_credit_normal, floor_minor,
                             ceiling_minor)
SELECT account_id, role, currency, book_id, is_credit_normal, floor_minor, ceiling_minor
  FROM given
 ORDER BY account_id

-- name: insert_books
INSERT INTO book (book_id, tenant_id, asset, scale)
SELECT *
  FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[]) AS given (book_id)
 ORDER BY book_id
    ON CONFLICT DO NOTHING

-- name: list_accounts
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, tenant_id,
       counterparty_id, account_balance.book_id, floor_minor, ceiling_minor, state, debits_minor, credits_minor,
       held_minor, sequence, version, booked_at
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE account_id > $1
   AND ($2 = '' OR owner_id = $2)
   AND ($3 = '' OR role = $3)
 ORDER BY account_id
 LIMIT $4

-- name: get_account
SELECT account_id, owner_id, role, currency, display_name, parent_id, opened_at, tenant_id,
       counterparty_id, account_balance.book_id, floor_minor, ceiling_minor, state, debits_minor, credits_minor,
       held_minor, sequence, version, booked_at
  FROM account
  JOIN account_balance USING (account_id, role, currency)
 WHERE account_id = $1

-- name: get_balances
SELECT account_id, role, currency, book_id, floor_minor, ceiling_minor, state, debits_minor,
       credits_minor, held_minor, sequence, version, booked_at
  FROM account_balance
 WHERE account_id = ANY($1::text[])

-- name: list_entries
-- A merge of two index scans, one for each side.
SELECT sequence, transfer_id, direction, currency, amount_minor, balance_after_minor, reference,
       description, booked_at, effective_on, counter_account_id
  FROM entry
 WHERE account_id = $1
   AND sequence > $2
   AND sequence <= $4
 ORDER BY sequence
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
  FROM hold_expiry
 WHERE expires_at <= $1
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

-- name: get_heads
SELECT chain, number, hash
  FROM chain_head
 UNION ALL
SELECT chain, number, hash
  FROM (SELECT chain, number, hash FROM batch WHERE chain = 0 ORDER BY number DESC LIMIT 1) AS zero
 ORDER BY chain

-- name: list_batches
SELECT chain, number, previous_hash, hash, transfers_count, booked_at
  FROM batch
 WHERE chain = $1
   AND number > $2
   AND number <= $3
 ORDER BY number
 LIMIT $4

-- name: list_sealed
SELECT transfer_id, debit_account_id, credit_account_id, currency, amount_minor, reference,
       description, effective_on, balancing, requested_minor, keep_minor, reverses_transfer_id,
       batch_number, booked_at, debit_sequence, debit_balance_after_minor, credit_sequence,
       credit_balance_after_minor
  FROM transfer
 WHERE chain = $1
   AND batch_number BETWEEN $2 AND $3
 ORDER BY batch_number, transfer_id

-- name: allow_whole_tables
-- Until the end of the transaction; see PLANNER_SETTINGS.
SET LOCAL enable_seqscan = on

-- name: count_unsealed
-- Transfers that no chain's head covers; one that another batch's hash would not miss, if it has none.
SELECT count(*)
  FROM transfer
 WHERE NOT EXISTS (SELECT FROM batch
                    WHERE batch.chain = transfer.chain
                      AND batch.number = transfer.batch_number)

-- name: list_balances
SELECT account_id, role, currency, book_id, floor_minor, ceiling_minor, state, debits_minor,
       credits_minor, held_minor, sequence, version, booked_at
  FROM account_balance
 WHERE account_id > $1
 ORDER BY account_id
 LIMIT $2

-- name: list_legs
SELECT account_id, sequence, direction, amount_minor, balance_after_minor
  FROM entry
 WHERE account_id = ANY($1::text[])
   AND sequence > $2
   AND sequence <= $3
 ORDER BY account_id, sequence

-- name: get_balances_at_time
-- As each account stood after its last entry booked by a moment. Booking times ascend with an account's sequence, so
-- that the entry is found by halving: a handful of looks into an index, and no index on time. OFFSET 0 keeps the planner
-- from looking twice at each step, once for either end; the ids come through a subquery so that one plan, made once, suits
-- every number of them: to plan takes longer than to look.
WITH RECURSIVE probe (account_id, currency, low, high) AS (
    SELECT account_id, currency, 0::bigint, sequence
      FROM account_balance
     WHERE account_id = ANY((SELECT $1::text[])::text[])
     UNION ALL
    SELECT account_id, currency,
           CASE WHEN booked_at <= $2 THEN middle ELSE low END,
           CASE WHEN booked_at <= $2 THEN high ELSE middle - 1 END
      FROM (SELECT account_id, currency, low, high, middle,
                   coalesce(
                       (SELECT booked_at FROM transfer
                         WHERE debit_account_id = account_id AND debit_sequence = middle),
                       (SELECT booked_at FROM transfer
                         WHERE credit_account_id = account_id AND credit_sequence = middle)
                   ) AS booked_at
              FROM (SELECT account_id, currency, low, high, (low + high + 1) / 2 AS middle
                      FROM probe
                     WHERE low < high) AS halved
            OFFSET 0) AS probed
)
SELECT account_id, currency, low AS sequence,
       coalesce(
           (SELECT debit_balance_after_minor FROM transfer
             WHERE debit_account_id = account_id AND debit_sequence = low),
           (SELECT credit_balance_after_minor FROM transfer
             WHERE credit_account_id = account_id AND credit_sequence = low),
           0) AS posted_minor
  FROM probe
 WHERE low = high

-- name: get_balances_at
-- As an account stood after one of its entries; the sequence is at most its last.
SELECT account_id, currency, given.sequence,
       coalesce(
           (SELECT debit_balance_after_minor FROM transfer
             WHERE debit_account_id = account_id AND debit_sequence = given.sequence),
           (SELECT credit_balance_after_minor FROM transfer
             WHERE credit_account_id = account_id AND credit_sequence = given.sequence),
           0) AS posted_minor
  FROM account_balance
  JOIN unnest($1::text[], $2::bigint[]) AS given (account_id, sequence) USING (account_id)

-- name: sum_subtree
-- A parent stands before its child, so that the tree has no circles.
WITH RECURSIVE subtree (account_id) AS (
    SELECT account_id FROM account WHERE account_id = $1
     UNION ALL
    SELECT account.account_id
      FROM account
      JOIN subtree ON account.parent_id = subtree.account_id
     WHERE account.parent_id <> ''
)
SELECT role, currency, count(*) AS accounts,
       sum(CASE WHEN is_credit_normal THEN credits_minor - debits_minor
                ELSE debits_minor - credits_minor END)::numeric AS posted_minor,
       sum(held_minor)::numeric AS held_minor
  FROM subtree
  JOIN account_balance USING (account_id)
 GROUP BY role, currency
 ORDER BY currency, role
