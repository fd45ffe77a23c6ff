-- The table of applied migrations: made when it is not there, else given the columns it lacks.
begin
    --{guard}
    --{lock}
    -- Whoever queues for a table makes everybody wait behind; it is tried again.
    perform set_config('lock_timeout', '4s', true);
    -- Not to_regclass: it may remember from before the lock was ours that there is no such table.
    if not exists (
        select
        from pg_catalog.pg_class
        where relname = 'migrations' and relnamespace = 'public'::regnamespace
    ) then
        create table public.migrations (
            id text primary key,
            name text not null,
            checksum text,
            executed_at timestamptz not null default current_timestamp,
            duration_ms bigint
        );
        alter table public.migrations enable row level security;
        revoke all on public.migrations from public;
        if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
            revoke all on public.migrations from anon;
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
            revoke all on public.migrations from authenticated;
        end if;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            grant select on public.migrations to service_role;
        end if;
    else
        alter table public.migrations add column if not exists checksum text;
        alter table public.migrations add column if not exists executed_at timestamptz;
        alter table public.migrations add column if not exists duration_ms bigint;
    end if;
    notify pgrst, 'reload schema';
    perform set_config('pulsebase.answer', '{"outcome": "prepared"}', true);
end
