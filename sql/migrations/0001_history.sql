-- History: a projection of the log. owner: streams.history; read by: delivery.

create table events (
    event_id      uuid        primary key,
    match_id      text        not null,
    type          text        not null,
    lane          "char"      not null,
    occurred_at   timestamptz,
    log_epoch     text        not null,
    log_partition int         not null,
    log_offset    bigint      not null,
    body          json,                 -- the value's exact bytes; json keeps them, jsonb would not
    flawed_bytes  bytea,                -- instead of body, where Postgres cannot take it as json
    flaw          text
);
create index events_by_match on events (match_id, log_epoch, log_offset);
comment on table events is 'owner: streams.history. One row an event of the log, exactly once.';

create table log_progress (
    log_epoch     text   not null,
    log_partition int    not null,
    next_offset   bigint not null,
    updated_at    timestamptz not null default now(),
    primary key (log_epoch, log_partition)
);
comment on table log_progress is 'owner: streams.history. Every offset below next_offset is applied.';

create table log_gaps (
    log_epoch     text   not null,
    log_partition int    not null,
    from_offset   bigint not null,
    to_offset     bigint not null,
    found_at      timestamptz not null default now(),
    primary key (log_epoch, log_partition, from_offset)
);
comment on table log_gaps is 'owner: streams.history. Offsets (both inclusive) that the broker no longer had.';
