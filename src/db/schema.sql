CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);

CREATE TABLE site (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    root_version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
);

CREATE TABLE leaves (client TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL);

CREATE TABLE tokens (
    hash TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT,
    labels TEXT NOT NULL,
    uses_left INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
);

CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    labels TEXT NOT NULL,
    blocked INTEGER NOT NULL,
    certificate TEXT NOT NULL,
    not_after_ms INTEGER NOT NULL,
    joined_at_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    agent_version TEXT NOT NULL
);
CREATE INDEX devices_role ON devices (role, id);
-- A distribution point or client access point is the one of its name; clients may share a name.
CREATE UNIQUE INDEX devices_name ON devices (role, name) WHERE role <> 'client';

-- Deleted devices, until the last certificate they were given has ended.
CREATE TABLE gone_devices (id TEXT PRIMARY KEY, role TEXT NOT NULL, gone_ms INTEGER NOT NULL, not_after_ms INTEGER NOT NULL);

-- Clients that two machines report as, or that went back to an older state of theirs.
CREATE TABLE copied_clients (
    client TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    noticed_ms INTEGER NOT NULL
);

CREATE TABLE inventory (
    client TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    document TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    -- The client's own number of it: a lower one is an old inventory.
    sequence INTEGER NOT NULL DEFAULT 0
);

-- Never deleted from: a version number is never used again, also not after the package was deleted.
CREATE TABLE version_counters (
    site TEXT NOT NULL,
    namespace TEXT NOT NULL,
    package TEXT NOT NULL,
    last INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (site, namespace, package)
);
CREATE TABLE versions (
    site TEXT NOT NULL,
    namespace TEXT NOT NULL,
    package TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    content TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    files INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    PRIMARY KEY (site, namespace, package, source_version)
);
CREATE INDEX versions_content ON versions (content);

CREATE TABLE records (
    digest TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    namespace TEXT NOT NULL,
    package TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    content TEXT,
    envelope TEXT NOT NULL,
    -- The order of publication; a record that becomes current again moves to the front.
    place INTEGER NOT NULL,
    published_ms INTEGER NOT NULL
);
CREATE INDEX records_place ON records (place);
CREATE INDEX records_package ON records (namespace, package, place);
CREATE TABLE current_records (
    namespace TEXT NOT NULL,
    package TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES records (digest),
    PRIMARY KEY (namespace, package)
);
CREATE INDEX current_records_digest ON current_records (digest);

CREATE TABLE points (
    name TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    url TEXT NOT NULL,
    drives TEXT NOT NULL,
    assignment TEXT NOT NULL,
    reported_ms INTEGER NOT NULL
);

CREATE TABLE locations (
    point TEXT NOT NULL,
    namespace TEXT NOT NULL,
    package TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    content TEXT NOT NULL,
    wanted TEXT NOT NULL,
    resend_wanted TEXT,
    resend_honoured TEXT,
    check_wanted INTEGER NOT NULL,
    check_honoured INTEGER NOT NULL,
    state TEXT NOT NULL,
    detail TEXT,
    path TEXT,
    verified_at_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (point, namespace, package, source_version)
);
CREATE INDEX locations_package ON locations (namespace, package, source_version);
CREATE INDEX locations_content ON locations (content, state);
CREATE INDEX locations_state ON locations (state, updated_ms);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    distribution TEXT NOT NULL,
    package TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    content TEXT,
    point TEXT NOT NULL,
    resend_token TEXT,
    advertisement TEXT,
    priority TEXT NOT NULL,
    send TEXT NOT NULL,
    distribute TEXT NOT NULL,
    run TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT,
    start_after_ms INTEGER,
    created_ms INTEGER NOT NULL,
    finished_ms INTEGER
);
CREATE INDEX jobs_distribution ON jobs (namespace, distribution, id);
CREATE INDEX jobs_location ON jobs (point, namespace, package, source_version);
CREATE INDEX jobs_finished ON jobs (finished_ms);

-- The outboxes messages came from; the number says which of a sender's outboxes is the newer one.
CREATE TABLE outboxes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL,
    outbox TEXT NOT NULL,
    high_water INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    UNIQUE (sender, outbox)
);
-- Numbers below the high-water mark that never arrived.
CREATE TABLE outbox_gaps (
    outbox INTEGER NOT NULL REFERENCES outboxes (number) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (outbox, first)
);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL,
    system TEXT NOT NULL,
    outbox INTEGER,
    seq INTEGER,
    received_ms INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    type TEXT NOT NULL,
    component TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    text TEXT NOT NULL,
    reason TEXT,
    state TEXT,
    client TEXT,
    advertisement TEXT,
    package TEXT,
    attributes TEXT NOT NULL
);
CREATE INDEX messages_received ON messages (received_ms);
CREATE INDEX messages_sender ON messages (sender, id);
CREATE INDEX messages_severity ON messages (severity, id);
CREATE INDEX messages_component ON messages (component, id);
CREATE INDEX messages_message_id ON messages (message_id, id);
CREATE INDEX messages_client ON messages (client, id) WHERE client IS NOT NULL;
CREATE INDEX messages_advertisement ON messages (advertisement, id) WHERE advertisement IS NOT NULL;
CREATE INDEX messages_package ON messages (package, id) WHERE package IS NOT NULL;

CREATE TABLE client_status (
    client TEXT NOT NULL,
    namespace TEXT NOT NULL,
    advertisement TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    text TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    accepted_ms INTEGER,
    program TEXT,
    source_version INTEGER,
    exit_code INTEGER,
    attempts INTEGER NOT NULL,
    local_user TEXT,
    output TEXT,
    outbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    rerun_tokens TEXT, -- JSON, newest last; NULL of a client that does not tell
    PRIMARY KEY (client, namespace, advertisement)
);
CREATE INDEX client_status_advertisement ON client_status (namespace, advertisement, client);

-- Summary: messages of a component on a system that are stored, by severity.
CREATE TABLE component_counts (
    system TEXT NOT NULL,
    component TEXT NOT NULL,
    informational INTEGER NOT NULL,
    warnings INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    PRIMARY KEY (system, component)
);
-- Summary: messages about an advertisement. Row 0 counts the stored ones, row 1 those that retention has deleted.
CREATE TABLE advertisement_counts (
    namespace TEXT NOT NULL,
    advertisement TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    received INTEGER NOT NULL,
    failed_to_start INTEGER NOT NULL,
    started INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (namespace, advertisement, deleted)
);
-- Deleted advertisements (as namespace/name): messages up to this id count for nothing.
CREATE TABLE forgotten_advertisements (advertisement TEXT PRIMARY KEY, through INTEGER NOT NULL);
-- Summary: distinct clients of an advertisement by state.
CREATE TABLE advertisement_states (
    namespace TEXT NOT NULL,
    advertisement TEXT NOT NULL,
    state TEXT NOT NULL,
    clients INTEGER NOT NULL,
    PRIMARY KEY (namespace, advertisement, state)
);

CREATE TABLE kept (topic TEXT PRIMARY KEY, text TEXT NOT NULL);
