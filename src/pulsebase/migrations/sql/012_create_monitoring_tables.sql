-- The two monitoring tables. Their names, columns, allowed values and indexes are fixed: programs
-- in any language read and write them. Later needs are later files.

create table if not exists public.service_health_checks (
    id uuid primary key default gen_random_uuid(),
    service_name varchar(100) not null,
    status text not null check (status in ('healthy', 'degraded', 'down')),
    latency_ms integer,
    checked_at timestamptz default current_timestamp,
    probe_details jsonb,
    created_at timestamptz default current_timestamp
);

create index if not exists idx_service_health_checks_created_at
    on public.service_health_checks (created_at);
create index if not exists idx_service_health_checks_service_name
    on public.service_health_checks (service_name);
create index if not exists idx_service_health_checks_service_created
    on public.service_health_checks (service_name, created_at);

create table if not exists public.alert_events (
    id uuid primary key default gen_random_uuid(),
    service_name varchar(100) not null,
    alert_type text not null check (alert_type in ('service_down', 'service_degraded', 'recovery')),
    status text not null check (status in ('active', 'resolved')),
    details jsonb,
    created_at timestamptz default current_timestamp,
    resolved_at timestamptz
);

create index if not exists idx_alert_events_created_at on public.alert_events (created_at);
create index if not exists idx_alert_events_status on public.alert_events (status);
create index if not exists idx_alert_events_service_name on public.alert_events (service_name);

alter table public.service_health_checks enable row level security;
alter table public.alert_events enable row level security;

revoke all on public.service_health_checks, public.alert_events from public;

-- Supabase's roles are named only where they are: plain PostgreSQL has none of them. Older projects
-- grant everything to everybody by default, newer ones nothing to anybody; this is right on both.
do $$
declare
    outsider text;
begin
    foreach outsider in array array['anon', 'authenticated'] loop
        if exists (select from pg_catalog.pg_roles where rolname = outsider) then
            execute format(
                'revoke all on public.service_health_checks, public.alert_events from %I', outsider
            );
        end if;
    end loop;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant select, insert, update, delete
            on public.service_health_checks, public.alert_events to service_role;
    end if;
end
$$;
