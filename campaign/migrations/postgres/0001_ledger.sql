-- Times are milliseconds since 1970, by the clock of the database.

CREATE TABLE campaigns (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    content_hash BYTEA NOT NULL,
    -- Of the recipients so far, and the number of their positions in the input.
    recipients_hash BYTEA NOT NULL,
    positions BIGINT NOT NULL DEFAULT 0,
    -- Whether a number may occur once only: 0 or 1.
    unique_numbers BIGINT NOT NULL,
    -- 0 draft, 1 sending, 2 done, 3 stopped, 4 cancelled
    state BIGINT NOT NULL DEFAULT 0,
    reason TEXT,
    created_at BIGINT NOT NULL
);

-- A recipient's number is its position in the input, counted from 1.
CREATE TABLE recipients (
    campaign_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    client_message_id TEXT NOT NULL,
    msisdn TEXT NOT NULL,
    country TEXT,
    variables TEXT,
    -- The number, if it may occur once only.
    number_key TEXT,
    PRIMARY KEY (campaign_id, position)
);
CREATE UNIQUE INDEX recipients_by_id ON recipients (client_message_id, campaign_id);
CREATE UNIQUE INDEX recipients_by_number ON recipients (number_key, campaign_id)
    WHERE number_key IS NOT NULL;

-- The unit of a claim: the recipients of one request.
CREATE TABLE chunks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id BIGINT NOT NULL,
    -- 1 for the first attempt, greater for retries of recipients that have an outcome.
    attempt BIGINT NOT NULL,
    first_position BIGINT NOT NULL,
    last_position BIGINT NOT NULL,
    -- The positions. NULL: all from the first to the last.
    members BIGINT[],
    -- 0 free, 1 claimed, 2 settled, 3 unknown, 4 split
    state BIGINT NOT NULL DEFAULT 0,
    -- How often a claim ended as provably not sent.
    tries BIGINT NOT NULL DEFAULT 0,
    -- The clientBatchId of the latest claim.
    token TEXT UNIQUE,
    worker_id BIGINT,
    claimed_at BIGINT,
    fence_at BIGINT
);
CREATE INDEX chunks_open ON chunks (campaign_id, state, id) WHERE state IN (0, 1);
CREATE INDEX chunks_by_position ON chunks (campaign_id, first_position);

-- Append-only.
CREATE TABLE outcomes (
    campaign_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    chunk_id BIGINT NOT NULL,
    try BIGINT NOT NULL,
    -- 1 not sent, 2 rejected, 3 unknown, 4 accepted
    kind BIGINT NOT NULL,
    umid TEXT,
    status BIGINT,
    code BIGINT,
    reason TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, position, chunk_id, try)
);

-- Append-only. A receipt may arrive before the outcome of its message.
CREATE TABLE receipts (
    umid TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    stage BIGINT NOT NULL,
    code BIGINT,
    client_batch_id TEXT,
    client_message_id TEXT,
    -- The attempt that it belongs to. NULL: it matches none, or several.
    campaign_id BIGINT,
    position BIGINT,
    chunk_id BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (umid, channel, state, detail, timestamp)
);
CREATE INDEX receipts_by_recipient ON receipts (campaign_id, position);

CREATE TABLE workers (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    ended_at BIGINT
);
