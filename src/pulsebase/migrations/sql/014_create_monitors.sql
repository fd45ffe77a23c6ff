-- The monitors that share one database: each running process keeps one row, and each beats. Who is
-- gone is decided here, once for all of them and by this server's clock, so that monitors whose
-- clocks differ still agree.

create table if not exists public.monitors (
    id uuid primary key,
    last_seen_at timestamptz not null default current_timestamp,
    -- Since when it has beaten without a break. Only such a monitor may call another one silent:
    -- after an outage of the database nobody could beat, and everybody's row is old.
    steady_since timestamptz not null default current_timestamp,
    started_at timestamptz not null default current_timestamp,
    gone_at timestamptz,
    heartbeat_interval_seconds double precision not null,
    service_count integer not null default 0,
    version text not null,
    name text,
    location text,
    services_digest text,
    services bytea,
    constraint monitors_heartbeat_interval_positive
        check (heartbeat_interval_seconds > 0 and heartbeat_interval_seconds <= 86400),
    constraint monitors_name_readable
        check (name <> '' and length(name) <= 100 and name !~ '[\u0001-\u001f\u007f-\u009f]'),
    constraint monitors_location_readable
        check (
            location <> '' and length(location) <= 100
            and location !~ '[\u0001-\u001f\u007f-\u009f]'
        ),
    constraint monitors_services_complete
        check (octet_length(services) = 8 * service_count)
-- Room on the page for new versions, and no index but the key: a beat rewrites no index.
) with (fillfactor = 50);

-- Hashes cannot be compressed; trying to would only cost.
alter table public.monitors alter column services set storage external;

alter table public.monitors enable row level security;

comment on table public.monitors is 'The running monitors, one row each; kept up by their beats.';


create or replace function public.find_monitors(include_gone boolean default true) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', known.id,
                    'name', known.name,
                    'location', known.location,
                    'version', known.version,
                    'heartbeat_interval_seconds', known.heartbeat_interval_seconds,
                    'started_at', known.started_at,
                    'last_seen_at', known.last_seen_at,
                    'gone_at', known.gone_at,
                    'age_seconds', known.age_seconds,
                    'is_silent', known.age_seconds > 2.5 * known.heartbeat_interval_seconds,
                    'service_count', known.service_count,
                    'services_digest', known.services_digest
                )
                order by known.started_at, known.id
            ),
            '[]'
        )
        from (
            select
                monitor.*,
                greatest(
                    0, extract(epoch from statement_timestamp() - monitor.last_seen_at)
                ) as age_seconds
            from public.monitors as monitor
            where include_gone or monitor.gone_at is null
        ) as known
    );
end
$function$;

comment on function public.find_monitors is
    'The monitors, oldest first, with the seconds since each was seen; without those that are '
    'gone, if that is asked.';


create or replace function public.beat_monitor(
    id uuid,
    heartbeat_interval_seconds double precision,
    version text,
    name text default null,
    location text default null,
    was_cut_off boolean default false
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    own_steady_since timestamptz;
begin
    update public.monitors as own
    set last_seen_at = moment,
        steady_since = case
            when was_cut_off
                or own.last_seen_at < moment - make_interval(secs => 2.5 * heartbeat_interval_seconds)
                or own.steady_since > moment  -- somebody set this server's clock back
                then moment
            else own.steady_since
        end,
        gone_at = null,
        heartbeat_interval_seconds = beat_monitor.heartbeat_interval_seconds,
        version = beat_monitor.version,
        name = beat_monitor.name,
        location = beat_monitor.location
    where own.id = beat_monitor.id
    returning own.steady_since into own_steady_since;
    if not found then
        insert into public.monitors
            (id, last_seen_at, steady_since, started_at, heartbeat_interval_seconds, version, name,
                location)
        values (id, moment, moment, moment, heartbeat_interval_seconds, version, name, location)
        on conflict do nothing;
        own_steady_since := moment;
    end if;

    -- Another one is gone when it was silent for two and a half of its own intervals while this one
    -- reached the database all the time; so is one last seen in the future, before the clock was set
    -- back. A locked row is one that beats just now.
    with silent as materialized (
        select other.id
        from public.monitors as other
        cross join lateral (
            select make_interval(secs => 2.5 * other.heartbeat_interval_seconds)
        ) as patience (length)
        where other.id <> beat_monitor.id
            and other.gone_at is null
            and own_steady_since < moment - patience.length
            and other.last_seen_at
                not between moment - patience.length and moment + patience.length
        for update of other skip locked
    )
    update public.monitors as other
    set gone_at = moment
    from silent
    where other.id = silent.id;

    with forgotten as materialized (
        select other.id
        from public.monitors as other
        where other.gone_at is not null
            and other.last_seen_at < moment - interval '1 day'
        for update skip locked
    )
    delete from public.monitors as other
    using forgotten
    where other.id = forgotten.id;

    return public.find_monitors(include_gone => false);
end
$function$;

comment on function public.beat_monitor is
    'Says that a monitor is alive; marks those that are gone and returns those that are there.';


create or replace function public.publish_monitor_services(
    id uuid,
    digest text,
    services text
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    hashes constant bytea := decode(services, 'base64');
begin
    update public.monitors as own
    set services = hashes,
        services_digest = digest,
        service_count = octet_length(hashes) / 8
    where own.id = publish_monitor_services.id;
    return to_jsonb(found);
end
$function$;

comment on function public.publish_monitor_services is
    'Stores which services a monitor watches, as hashes of 8 bytes in base64; false without a row.';


create or replace function public.find_monitor_services(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select jsonb_build_object(
            'digest', monitor.services_digest,
            'services', translate(encode(monitor.services, 'base64'), E'\n', '')
        )
        from public.monitors as monitor
        where monitor.id = find_monitor_services.id
            and monitor.services is not null
    );
end
$function$;

comment on function public.find_monitor_services is
    'The digest and the hashes of the services that a monitor watches, or null.';


create or replace function public.remove_monitor(id uuid) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
begin
    delete from public.monitors as leaving
    where leaving.id = remove_monitor.id;
    return to_jsonb(found);
end
$function$;

comment on function public.remove_monitor is
    'Removes the row of a monitor that ends; says whether there was one.';


revoke all on public.monitors from public;

do $$
declare
    verb regprocedure;
    outsider text;
begin
    foreach outsider in array array['anon', 'authenticated'] loop
        if exists (select from pg_catalog.pg_roles where rolname = outsider) then
            execute format('revoke all on public.monitors from %I', outsider);
        end if;
    end loop;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant select, insert, update, delete on public.monitors to service_role;
    end if;
    foreach verb in array array[
        'public.find_monitors(boolean)',
        'public.beat_monitor(uuid, double precision, text, text, text, boolean)',
        'public.publish_monitor_services(uuid, text, text)',
        'public.find_monitor_services(uuid)',
        'public.remove_monitor(uuid)'
    ]::regprocedure[] loop
        execute format('revoke all on function %s from public', verb);
        foreach outsider in array array['anon', 'authenticated'] loop
            if exists (select from pg_catalog.pg_roles where rolname = outsider) then
                execute format('revoke all on function %s from %I', verb, outsider);
            end if;
        end loop;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format('grant execute on function %s to service_role', verb);
        end if;
    end loop;
end
$$;
