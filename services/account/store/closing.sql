-- Closing balances: written once a day, never changed.

-- name: get_last_closed_day
SELECT max(day) FROM closed_day

-- name: get_first_booking
SELECT min(booked_at) FROM batch

-- name: is_closed_day
SELECT EXISTS (SELECT FROM closed_day WHERE day = $1)

-- name: close_accounts
-- One page of accounts: where each stood at the end of the day, if it has moved since its last closing. Returns the
-- page's last account, NULL after the last page. OFFSET 0: each step looks once, not once for either end.
WITH RECURSIVE page AS (
    SELECT account_id, sequence,
           coalesce((SELECT closing_balance.sequence FROM closing_balance
                      WHERE closing_balance.account_id = account_balance.account_id
                        AND closing_balance.day < $1
                      ORDER BY closing_balance.day DESC LIMIT 1), 0) AS closed_sequence
      FROM account_balance
     WHERE account_id > $3
     ORDER BY account_id
     LIMIT $4
), probe (account_id, low, high) AS (
    SELECT account_id, closed_sequence, sequence FROM page WHERE sequence > closed_sequence
     UNION ALL
    SELECT account_id,
           CASE WHEN booked_at <= $2 THEN middle ELSE low END,
           CASE WHEN booked_at <= $2 THEN high ELSE middle - 1 END
      FROM (SELECT account_id, low, high, middle,
                   coalesce(
                       (SELECT booked_at FROM transfer
                         WHERE debit_account_id = account_id AND debit_sequence = middle),
                       (SELECT booked_at FROM transfer
                         WHERE credit_account_id = account_id AND credit_sequence = middle)
                   ) AS booked_at
              FROM (SELECT account_id, low, high, (low + high + 1) / 2 AS middle
                      FROM probe
                     WHERE low < high) AS halved
            OFFSET 0) AS probed
), closed AS (
    INSERT INTO closing_balance (account_id, day, sequence, posted_minor)
    SELECT account_id, $1, low,
           coalesce(
               (SELECT debit_balance_after_minor FROM transfer
                 WHERE debit_account_id = account_id AND debit_sequence = low),
               (SELECT credit_balance_after_minor FROM transfer
                 WHERE credit_account_id = account_id AND credit_sequence = low))
      FROM probe
      JOIN page USING (account_id)
     WHERE low = high
       AND low > closed_sequence
     ORDER BY account_id
        ON CONFLICT DO NOTHING
)
SELECT max(account_id) FROM page

-- name: insert_closed_day
INSERT INTO closed_day (day, ended_at, closed_at)
VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING

-- name: list_closing_balances
SELECT account_id, currency, latest.posted_minor, latest.sequence
  FROM account_balance
 CROSS JOIN LATERAL (
       SELECT posted_minor, sequence
         FROM closing_balance
        WHERE closing_balance.account_id = account_balance.account_id
          AND day <= $1
        ORDER BY day DESC
        LIMIT 1) AS latest
 WHERE account_id > $2
 ORDER BY account_id
 LIMIT $3
