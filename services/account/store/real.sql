-- Real accounts, mappings to them, and the sums of who stands on them.

-- name: lock_real_accounts
SELECT real_account_id, kind, provider, masked_number, number_hash, holder, currency, tenant_id,
       display_name, opened_at, state
  FROM real_account
 WHERE real_account_id = ANY($1::text[])
    OR number_hash = ANY($2::bytea[])
 ORDER BY real_account_id
   FOR UPDATE

-- name: insert_real_accounts
INSERT INTO real_account (real_account_id, kind, provider, masked_number, number_hash, holder,
                          currency, tenant_id, display_name, opened_at, state)
SELECT *
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[],
              $8::text[], $9::text[], $10::timestamptz[], $11::text[]) AS given (real_account_id)
 ORDER BY real_account_id

-- name: get_real_account
SELECT real_account_id, kind, provider, masked_number, number_hash, holder, currency, tenant_id,
       display_name, opened_at, state
  FROM real_account
 WHERE real_account_id = $1

-- name: list_real_accounts
SELECT real_account_id, kind, provider, masked_number, number_hash, holder, currency, tenant_id,
       display_name, opened_at, state
  FROM real_account
 WHERE real_account_id > $1
   AND ($2 = '' OR tenant_id = $2)
 ORDER BY real_account_id
 LIMIT $3

-- name: get_real_changes
SELECT request_id, real_account_id, changed_at, reason, state_before, state_after
  FROM real_account_change
 WHERE request_id = $1
   AND real_account_id = ANY($2::text[])

-- name: save_real_changes
WITH records AS (
    INSERT INTO real_account_change (request_id, real_account_id, changed_at, reason, state_before,
                                     state_after)
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
)
UPDATE real_account
   SET state = given.state
  FROM unnest($2::text[], $6::text[]) AS given (real_account_id, state)
 WHERE real_account.real_account_id = given.real_account_id

-- name: get_users
-- For each real account one virtual account whose mapping names it on a day or later: the last word of each day counts, and the
-- last day up to this one, and every day after it.
SELECT DISTINCT ON (named.real_account_id) named.real_account_id, named.account_id
  FROM account_mapping AS named
 WHERE named.real_account_id = ANY($1::text[])
   AND named.real_account_id <> ''
   AND NOT EXISTS (
       SELECT FROM account_mapping AS later
        WHERE later.account_id = named.account_id
          AND ((later.valid_from = named.valid_from AND later.revision > named.revision)
               OR (later.valid_from > named.valid_from AND later.valid_from <= $2::date)))
 ORDER BY named.real_account_id, named.account_id

-- name: get_said
-- What a request has said before.
SELECT account_id, real_account_id, valid_from, revision, request_id, reason, recorded_at
  FROM account_mapping
 WHERE request_id = $1
   AND account_id = ANY($2::text[])

-- name: get_revisions
SELECT account_id, valid_from, max(revision) + 1 AS revision
  FROM account_mapping
 WHERE account_id = ANY($1::text[])
   AND valid_from = ANY($2::date[])
 GROUP BY account_id, valid_from

-- name: insert_mappings
INSERT INTO account_mapping (account_id, real_account_id, valid_from, revision, request_id, reason,
                             recorded_at)
SELECT *
  FROM unnest($1::text[], $2::text[], $3::date[], $4::integer[], $5::text[], $6::text[],
              $7::timestamptz[]) AS given (account_id)
 ORDER BY account_id

-- name: list_mappings
-- A mapping ends where the account's next one begins; one that was replaced the same day has no end of its own.
SELECT account_id, real_account_id, valid_from, revision, request_id, reason, recorded_at,
       is_replaced,
       CASE WHEN NOT is_replaced THEN
           (SELECT min(next.valid_from) FROM account_mapping AS next
             WHERE next.account_id = said.account_id
               AND next.valid_from > said.valid_from)
       END AS valid_until
  FROM (SELECT account_id, real_account_id, valid_from, revision, request_id, reason, recorded_at,
               EXISTS (SELECT FROM account_mapping AS other
                        WHERE other.account_id = account_mapping.account_id
                          AND other.valid_from = account_mapping.valid_from
                          AND other.revision > account_mapping.revision) AS is_replaced
          FROM account_mapping
         WHERE ($1 = '' OR account_id = $1)
           AND ($2 = '' OR real_account_id = $2)
           AND (account_id, valid_from, revision) > ($3, $4::date, $5::integer)) AS said
 ORDER BY account_id, valid_from, revision
 LIMIT $6

-- name: sum_mirrors
-- By real account and role, what is booked on the accounts that stand on it ('' for none), on a day and after everything booked
-- by a moment (NULL for now). From those that a mapping names down the tree, as far as none has a mapping of its own; then,
-- for a past moment, to the last entry of each by halving. OFFSET 0: first all children, then which of them follow; a planner
-- that expects few to follow otherwise looks at every account once for each parent.
WITH RECURSIVE mapped (account_id, real_account_id) AS (
    SELECT candidate.account_id, own.real_account_id
      FROM (SELECT DISTINCT account_id
              FROM account_mapping
             WHERE real_account_id = ANY($1::text[])
               AND real_account_id <> '') AS candidate
     CROSS JOIN LATERAL (
           SELECT real_account_id
             FROM account_mapping
            WHERE account_mapping.account_id = candidate.account_id
              AND valid_from <= $2::date
            ORDER BY valid_from DESC, revision DESC
            LIMIT 1) AS own
     WHERE own.real_account_id = ANY($1::text[])
       AND own.real_account_id <> ''
     UNION ALL
    SELECT account_id, ''
      FROM account
     WHERE '' = ANY($1::text[])
       AND parent_id = ''
       AND coalesce((SELECT real_account_id
                       FROM account_mapping
                      WHERE account_mapping.account_id = account.account_id
                        AND valid_from <= $2::date
                      ORDER BY valid_from DESC, revision DESC
                      LIMIT 1), '') = ''
     UNION ALL
    SELECT account_id, real_account_id
      FROM (SELECT account.account_id, mapped.real_account_id
              FROM mapped
              JOIN account ON account.parent_id = mapped.account_id
             WHERE account.parent_id <> ''
            OFFSET 0) AS child
     WHERE coalesce((SELECT real_account_id
                       FROM account_mapping
                      WHERE account_mapping.account_id = child.account_id
                        AND valid_from <= $2::date
                      ORDER BY valid_from DESC, revision DESC
                      LIMIT 1), '') = ''
), probe (account_id, real_account_id, low, high) AS (
    SELECT account_id, real_account_id,
           CASE WHEN $3::timestamptz IS NULL THEN sequence ELSE 0 END, sequence
      FROM mapped
      JOIN account_balance USING (account_id)
     UNION ALL
    SELECT account_id, real_account_id,
           CASE WHEN booked_at <= $3 THEN middle ELSE low END,
           CASE WHEN booked_at <= $3 THEN high ELSE middle - 1 END
      FROM (SELECT account_id, real_account_id, low, high, middle,
                   coalesce(
                       (SELECT booked_at FROM transfer
                         WHERE debit_account_id = account_id AND debit_sequence = middle),
                       (SELECT booked_at FROM transfer
                         WHERE credit_account_id = account_id AND credit_sequence = middle)
                   ) AS booked_at
              FROM (SELECT account_id, real_account_id, low, high, (low + high + 1) / 2 AS middle
                      FROM probe
                     WHERE low < high) AS halved) AS probed
), standing AS (
    SELECT real_account_id, role, book_id,
           CASE WHEN $3::timestamptz IS NOT NULL THEN coalesce(
                    (SELECT debit_balance_after_minor FROM transfer
                      WHERE debit_account_id = account_id AND debit_sequence = low),
                    (SELECT credit_balance_after_minor FROM transfer
                      WHERE credit_account_id = account_id AND credit_sequence = low),
                    0)
                WHEN is_credit_normal THEN credits_minor - debits_minor
                ELSE debits_minor - credits_minor
           END AS posted_minor
      FROM probe
      JOIN account_balance USING (account_id)
     WHERE low = high
)
SELECT real_account_id, book.tenant_id, book.asset AS currency, role, count(*) AS accounts,
       sum(posted_minor)::numeric AS posted_minor
  FROM standing
  JOIN book USING (book_id)
 GROUP BY real_account_id, book.tenant_id, book.asset, role
 ORDER BY real_account_id, book.tenant_id, book.asset, role

-- name: list_mirror_accounts
-- As sum_mirrors of one real account, account by account; only a page's accounts are looked up.
WITH RECURSIVE mapped (account_id, mapped_by_account_id) AS (
    SELECT candidate.account_id, candidate.account_id
      FROM (SELECT DISTINCT account_id
              FROM account_mapping
             WHERE real_account_id = $1
               AND real_account_id <> '') AS candidate
     CROSS JOIN LATERAL (
           SELECT real_account_id
             FROM account_mapping
            WHERE account_mapping.account_id = candidate.account_id
              AND valid_from <= $2::date
            ORDER BY valid_from DESC, revision DESC
            LIMIT 1) AS own
     WHERE own.real_account_id = $1
     UNION ALL
    SELECT account_id, ''
      FROM account
     WHERE $1 = ''
       AND parent_id = ''
       AND coalesce((SELECT real_account_id
                       FROM account_mapping
                      WHERE account_mapping.account_id = account.account_id
                        AND valid_from <= $2::date
                      ORDER BY valid_from DESC, revision DESC
                      LIMIT 1), '') = ''
     UNION ALL
    SELECT account_id, mapped_by_account_id
      FROM (SELECT account.account_id, mapped.mapped_by_account_id
              FROM mapped
              JOIN account ON account.parent_id = mapped.account_id
             WHERE account.parent_id <> ''
            OFFSET 0) AS child
     WHERE coalesce((SELECT real_account_id
                       FROM account_mapping
                      WHERE account_mapping.account_id = child.account_id
                        AND valid_from <= $2::date
                      ORDER BY valid_from DESC, revision DESC
                      LIMIT 1), '') = ''
), page AS (
    SELECT account_id, mapped_by_account_id
      FROM mapped
     WHERE account_id > $4
     ORDER BY account_id
     LIMIT $5
), probe (account_id, low, high) AS (
    SELECT account_id, CASE WHEN $3::timestamptz IS NULL THEN sequence ELSE 0 END, sequence
      FROM page
      JOIN account_balance USING (account_id)
     UNION ALL
    SELECT account_id,
           CASE WHEN booked_at <= $3 THEN middle ELSE low END,
           CASE WHEN booked_at <= $3 THEN high ELSE middle - 1 END
      FROM (SELECT account_id, low, high, middle,
                   coalesce(
                       (SELECT booked_at FROM transfer
                         WHERE debit_account_id = account_id AND debit_sequence = middle),
                       (SELECT booked_at FROM transfer
                         WHERE credit_account_id = account_id AND credit_sequence = middle)
                   ) AS booked_at
              FROM (SELECT account_id, low, high, (low + high + 1) / 2 AS middle
                      FROM probe
                     WHERE low < high) AS halved) AS probed
)
SELECT account_id, role, currency, low AS sequence, mapped_by_account_id,
       CASE WHEN $3::timestamptz IS NOT NULL THEN coalesce(
                (SELECT debit_balance_after_minor FROM transfer
                  WHERE debit_account_id = account_id AND debit_sequence = low),
                (SELECT credit_balance_after_minor FROM transfer
                  WHERE credit_account_id = account_id AND credit_sequence = low),
                0)
            WHEN is_credit_normal THEN credits_minor - debits_minor
            ELSE debits_minor - credits_minor
       END AS posted_minor
  FROM probe
  JOIN page USING (account_id)
  JOIN account_balance USING (account_id)
 WHERE low = high
 ORDER BY account_id
