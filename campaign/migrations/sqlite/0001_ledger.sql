-- Times are milliseconds since 1970, by the clock of the database.

CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    -- Of the recipients so far, and the number of their positions in the input.
    recipients_hash BLOB NOT NULL,
    positions INTEGER NOT NULL DEFAULT 0,
    -- Whether a number may occur once only: 0 or 1.
    unique_numbers INTEGER NOT NULL,
    -- 0 draft, 1 sending, 2 done, 3 stopped, 4 cancelled
    state INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    created_at INTEGER NOT NULL
);

-- A recipient's number is its position in the input, counted from 1.
CREATE TABLE recipients (
    campaign_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    client_message_id TEXT NOT NULL,
    msisdn TEXT NOT NULL,
    country TEXT,
    variables TEXT,
    -- The number, if it may occur once only.
    number_key TEXT,
    PRIMARY KEY (campaign_id, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX recipients_by_id ON recipients (client_message_id, campaign_id);
CREATE UNIQUE INDEX recipients_by_number ON recipients (number_key, campaign_id)
    WHERE number_key IS NOT NULL;

-- The unit of a claim: the recipients of one request.
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id INTEGER NOT NULL,
    -- 1 for the first attempt, greater for retries of recipients that have an outcome.
    attempt INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    last_position INTEGER NOT NULL,
    -- The positions, as a JSON array. NULL: all from the first to the last.
    members TEXT,
    -- 0 free, 1 claimed, 2 settled, 3 unknown, 4 split
    state INTEGER NOT NULL DEFAULT 0,
    -- How often a claim ended as provably not sent.
    tries INTEGER NOT NULL DEFAULT 0,
    -- The clientBatchId of the latest claim.
    token TEXT UNIQUE,
    worker_id INTEGER,
    claimed_at INTEGER,
    fence_at INTEGER
);
CREATE INDEX chunks_open ON chunks (campaign_id, state, id) WHERE state IN (0, 1);
CREATE INDEX chunks_by_position ON chunks (campaign_id, first_position);

-- Append-only.
CREATE TABLE outcomes (
    campaign_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    chunk_id INTEGER NOT NULL,
    try INTEGER NOT NULL,
    -- 1 not sent, 2 rejected, 3 unknown, 4 accepted
    kind INTEGER NOT NULL,
    umid TEXT,
    status INTEGER,
    code INTEGER,
    reason TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, position, chunk_id, try)
) WITHOUT ROWID;

-- Append-only. A receipt may arrive before the outcome of its message.
CREATE TABLE receipts (
    umid TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    stage INTEGER NOT NULL,
    code INTEGER,
    client_batch_id TEXT,
    client_message_id TEXT,
    -- The attempt that it belongs to. NULL: it matches none, or several.
    campaign_id INTEGER,
    position INTEGER,
    chunk_id INTEGER,
    at INTEGER NOT NULL,
    PRIMARY KEY (umid, channel, state, detail, timestamp)
) WITHOUT ROWID;
CREATE INDEX receipts_by_recipient ON receipts (campaign_id, position);

CREATE TABLE workers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    ended_at INTEGER
);
