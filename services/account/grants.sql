-- What the role that serves may do, so that what is booked is append-only by rights as well. The tables belong to the
-- role that migrates (FISC_ACCOUNT_OWNER_DATABASE_URL); run this as that role after each migration:
--   CREATE ROLE fisc_account_service LOGIN PASSWORD '…';
GRANT USAGE ON SCHEMA public TO fisc_account_service;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO fisc_account_service;
GRANT INSERT ON book, account, account_balance, account_change, transfer, batch, hold, hold_expiry,
    hold_group, closing_balance, closed_day, real_account, real_account_change, account_mapping TO fisc_account_service;
GRANT UPDATE ON account_balance, chain_head, hold, hold_group, real_account TO fisc_account_service;
GRANT DELETE ON hold_expiry TO fisc_account_service;
