-- The posting of plain transfers as one function: what a second engine, inside the database, would have to do. It
-- decides in order under the same locks and writes the same rows and the same seals. Left out, in its favour:
-- chains, balancing, reversals, holds, effective dates, other currencies and books, states of accounts.
CREATE FUNCTION bench_post(
    given_ids text[], debit_places integer[], credit_places integer[], amounts_minor bigint[],
    given_references text[], descriptions text[], account_ids text[], clock_at timestamptz,
    booking_day date,
    OUT refusals text[], OUT debit_sequences bigint[], OUT debit_afters_minor bigint[],
    OUT credit_sequences bigint[], OUT credit_afters_minor bigint[], OUT helds_minor bigint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    head chain_head;
    loaded account_balance;
    known text[];
    posted_minor bigint[] := array_fill(0::bigint, ARRAY[cardinality(account_ids)]);
    debits_minor bigint[] := posted_minor;
    credits_minor bigint[] := posted_minor;
    sequences bigint[] := posted_minor;
    versions bigint[] := posted_minor;
    last_at timestamptz := clock_at;
    normals boolean[];
    floors_minor bigint[];
    ceilings_minor bigint[];
    booked boolean[];
    place integer := 0;
    debit integer;
    credit integer;
    amount_minor bigint;
    next_debit_minor bigint;
    next_credit_minor bigint;
    batch_hash bytea;
    booked_count integer;
BEGIN
    SELECT * INTO head FROM chain_head ORDER BY number, chain LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT * INTO head FROM chain_head ORDER BY random() LIMIT 1 FOR UPDATE;
    END IF;
    helds_minor := posted_minor;
    FOR loaded IN
        SELECT * FROM account_balance WHERE account_id = ANY(account_ids) ORDER BY account_id FOR UPDATE
    LOOP
        place := place + 1;
        WHILE account_ids[place] < loaded.account_id LOOP
            place := place + 1;
        END LOOP;
        normals[place] := loaded.is_credit_normal;
        debits_minor[place] := loaded.debits_minor;
        credits_minor[place] := loaded.credits_minor;
        posted_minor[place] := CASE WHEN loaded.is_credit_normal
            THEN loaded.credits_minor - loaded.debits_minor
            ELSE loaded.debits_minor - loaded.credits_minor END;
        helds_minor[place] := loaded.held_minor;
        sequences[place] := loaded.sequence;
        versions[place] := loaded.version;
        floors_minor[place] := coalesce(loaded.floor_minor, CASE
            WHEN loaded.role IN ('MERCHANT_AVAILABLE', 'MERCHANT_RESERVE', 'LIMIT') THEN 0 END);
        ceilings_minor[place] := loaded.ceiling_minor;
        last_at := greatest(last_at, loaded.booked_at);
    END LOOP;
    known := ARRAY(SELECT transfer_id FROM transfer WHERE transfer_id = ANY(given_ids));
    FOR item IN 1 .. cardinality(given_ids) LOOP
        debit := debit_places[item];
        credit := credit_places[item];
        amount_minor := amounts_minor[item];
        booked[item] := false;
        IF cardinality(known) > 0 AND given_ids[item] = ANY(known) THEN
            refusals[item] := 'KNOWN';
            CONTINUE;
        ELSIF amount_minor NOT BETWEEN 1 AND 1000000000000000000 THEN
            refusals[item] := 'AMOUNT_OUT_OF_RANGE';
            CONTINUE;
        ELSIF debit = credit THEN
            refusals[item] := 'SAME_ACCOUNT';
            CONTINUE;
        ELSIF normals[debit] IS NULL OR normals[credit] IS NULL THEN
            refusals[item] := 'ACCOUNT_NOT_FOUND';
            CONTINUE;
        END IF;
        next_debit_minor := posted_minor[debit]
            + CASE WHEN normals[debit] THEN -amount_minor ELSE amount_minor END;
        next_credit_minor := posted_minor[credit]
            + CASE WHEN normals[credit] THEN amount_minor ELSE -amount_minor END;
        IF next_debit_minor - helds_minor[debit] < floors_minor[debit]
            OR next_credit_minor - helds_minor[credit] < floors_minor[credit] THEN
            refusals[item] := 'INSUFFICIENT_FUNDS';
            CONTINUE;
        ELSIF next_debit_minor > ceilings_minor[debit]
            OR next_credit_minor > ceilings_minor[credit] THEN
            refusals[item] := 'CEILING_EXCEEDED';
            CONTINUE;
        END IF;
        posted_minor[debit] := next_debit_minor;
        posted_minor[credit] := next_credit_minor;
        debits_minor[debit] := debits_minor[debit] + amount_minor;
        credits_minor[credit] := credits_minor[credit] + amount_minor;
        sequences[debit] := sequences[debit] + 1;
        sequences[credit] := sequences[credit] + 1;
        versions[debit] := versions[debit] + 1;
        versions[credit] := versions[credit] + 1;
        booked[item] := true;
        refusals[item] := '';
        debit_sequences[item] := sequences[debit];
        debit_afters_minor[item] := next_debit_minor;
        credit_sequences[item] := sequences[credit];
        credit_afters_minor[item] := next_credit_minor;
    END LOOP;
    INSERT INTO transfer (transfer_id, amount_minor, booked_at, debit_sequence,
                          debit_balance_after_minor, credit_sequence, credit_balance_after_minor,
                          batch_number, effective_on, chain, debit_account_id, credit_account_id,
                          currency, reference, description)
    SELECT id, minor, last_at, ds, da, cs, ca, head.number + 1, booking_day, head.chain,
           account_ids[dp], account_ids[cp], 'CNY', ref, description
      FROM unnest(given_ids, amounts_minor, debit_sequences, debit_afters_minor, credit_sequences,
                  credit_afters_minor, debit_places, credit_places, given_references, descriptions,
                  booked)
        AS given (id, minor, ds, da, cs, ca, dp, cp, ref, description, is_booked)
     WHERE is_booked
     ORDER BY id;
    GET DIAGNOSTICS booked_count = ROW_COUNT;
    IF booked_count = 0 THEN
        RETURN;
    END IF;
    UPDATE account_balance AS balance
       SET debits_minor = given.debits, credits_minor = given.credits, sequence = given.seq,
           version = given.ver, booked_at = last_at
      FROM unnest(account_ids, debits_minor, credits_minor, sequences, versions)
        AS given (account_id, debits, credits, seq, ver)
     WHERE balance.account_id = ANY(account_ids)
       AND balance.account_id = given.account_id
       AND balance.sequence < given.seq;
    SELECT sha256(head.hash || convert_to(head.chain || E'\x01' || (head.number + 1) || E'\x01'
               || string_agg(concat_ws(E'\x01', id, account_ids[dp], account_ids[cp], 'CNY', minor, ref,
                                       description, booking_day, extract(epoch FROM last_at) * 1000000,
                                       ds, da, cs, ca, '', '', '', '', ''), '' ORDER BY id), 'UTF8'))
      INTO batch_hash
      FROM unnest(given_ids, amounts_minor, debit_sequences, debit_afters_minor, credit_sequences,
                  credit_afters_minor, debit_places, credit_places, given_references, descriptions,
                  booked)
        AS given (id, minor, ds, da, cs, ca, dp, cp, ref, description, is_booked)
     WHERE is_booked;
    INSERT INTO batch (chain, number, previous_hash, hash, transfers_count, booked_at)
    VALUES (head.chain, head.number + 1, head.hash, batch_hash, booked_count, last_at);
    UPDATE chain_head SET number = head.number + 1, hash = batch_hash WHERE chain = head.chain;
END $$;
