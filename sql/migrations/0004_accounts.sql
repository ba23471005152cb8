-- Accounts: who may log in, and the refresh tokens that are out. owner: accounts. Plans and revocations are not here but on
-- account-events, because every node must know them while this server is down.

create table users (
    name          text        primary key,
    password_hash text        not null,     -- Argon2id with its salt and parameters, as a PHC string
    created_at    timestamptz not null default now()
);
comment on table users is 'owner: accounts. One row for each user that operators have made.';

create table refresh_families (
    id         text        primary key,     -- the claim `sid` of the family's access tokens
    user_name  text        not null references users on delete cascade,
    created_at timestamptz not null default now(),
    ends_at    timestamptz not null,        -- the latest end of its tokens
    revoked_at timestamptz                  -- set: over, and account-events has yet to be told; then the row goes
);
create index refresh_families_by_user on refresh_families (user_name);
create index refresh_families_revoked on refresh_families (revoked_at) where revoked_at is not null;
create index refresh_families_by_end on refresh_families (ends_at);
comment on table refresh_families is 'owner: accounts. One row for each login that is not over.';

create table refresh_tokens (
    sha256    bytea       primary key,
    family    text        not null references refresh_families on delete cascade,
    ends_at   timestamptz not null,
    used_at   timestamptz,
    salt      bytea,                        -- with the used token itself, what its successor is made of
    successor bytea                         -- the successor's sha256
);
create index refresh_tokens_by_family on refresh_tokens (family);
comment on table refresh_tokens is 'owner: accounts. Hashes only; a used one stays, so that its reuse is noticed.';
