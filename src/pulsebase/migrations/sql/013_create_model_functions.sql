-- The functions that the models call, one for each verb. Each returns exactly one JSON value:
-- PostgREST cuts a set of rows at its row cap without a word, a single value it never cuts.
--
-- Arguments bear the names of the columns; where both could be meant, the argument is written with
-- the name of its function. Ids come from the client, so a call that is repeated changes nothing.

-- Rows that other programs wrote without times could be neither found in order nor tidied away.
update public.service_health_checks
set checked_at = coalesce(checked_at, created_at, current_timestamp),
    created_at = coalesce(created_at, checked_at, current_timestamp)
where checked_at is null or created_at is null;

update public.alert_events
set created_at = coalesce(resolved_at, current_timestamp)
where created_at is null;

-- NOT VALID: new rows must obey, old rows may stay as they are.
do $$
declare
    rule record;
begin
    for rule in
        select *
        from (values
            ('service_health_checks', 'service_health_checks_service_name_readable',
                $check$service_name <> '' and service_name !~ '[\u0001-\u001f\u007f-\u009f]'$check$),
            ('service_health_checks', 'service_health_checks_latency_ms_not_negative',
                $check$latency_ms >= 0$check$),
            ('service_health_checks', 'service_health_checks_checked_at_not_in_future',
                $check$checked_at <= created_at + interval '5 minutes'$check$),
            ('service_health_checks', 'service_health_checks_times_present',
                $check$checked_at is not null and created_at is not null$check$),
            ('service_health_checks', 'service_health_checks_probe_details_small_object',
                $check$jsonb_typeof(probe_details) = 'object'
                and octet_length(probe_details::text) <= 65536$check$),
            ('alert_events', 'alert_events_service_name_readable',
                $check$service_name <> '' and service_name !~ '[\u0001-\u001f\u007f-\u009f]'$check$),
            ('alert_events', 'alert_events_created_at_present',
                $check$created_at is not null$check$),
            ('alert_events', 'alert_events_details_small_object',
                $check$jsonb_typeof(details) = 'object'
                and octet_length(details::text) <= 65536$check$)
        ) as rules (table_name, constraint_name, condition)
    loop
        if not exists (
            select
            from pg_catalog.pg_constraint
            where conname = rule.constraint_name
                and conrelid = format('public.%I', rule.table_name)::regclass
        ) then
            execute format(
                'alter table public.%I add constraint %I check (%s) not valid',
                rule.table_name, rule.constraint_name, rule.condition
            );
        end if;
    end loop;
end
$$;

-- History is read in the order in which probes looked; a replay arrives late, with old times.
create index if not exists idx_service_health_checks_service_checked
    on public.service_health_checks (service_name, checked_at, id);
create index if not exists idx_alert_events_service_created
    on public.alert_events (service_name, created_at, id);


create or replace function public.create_health_check(
    service_name text,
    status text,
    latency_ms integer default null,
    checked_at timestamptz default null,
    probe_details jsonb default null,
    id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    stored public.service_health_checks;
begin
    -- Some clients encode JSON twice; the details are an object, so a text can only be one of those.
    if jsonb_typeof(probe_details) = 'string' then
        probe_details := (probe_details #>> '{}')::jsonb;
    end if;
    insert into public.service_health_checks
        (id, service_name, status, latency_ms, checked_at, probe_details)
    values (
        coalesce(id, gen_random_uuid()), service_name, status, latency_ms,
        coalesce(checked_at, current_timestamp), probe_details
    )
    on conflict do nothing
    returning * into stored;
    if not found then
        select earlier.* into stored
        from public.service_health_checks as earlier
        where earlier.id = create_health_check.id;
    end if;
    return to_jsonb(stored);
end
$function$;

comment on function public.create_health_check is
    'Stores one check and returns its row; a repeated id returns the row that is there.';


create or replace function public.create_health_checks(checks json) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    inserted bigint;
begin
    if json_typeof(checks) = 'string' then
        checks := (checks #>> '{}')::json;
    end if;
    insert into public.service_health_checks
        (id, service_name, status, latency_ms, checked_at, probe_details)
    select
        coalesce(given.id, gen_random_uuid()), given.service_name, given.status, given.latency_ms,
        coalesce(given.checked_at, current_timestamp), given.probe_details
    from json_to_recordset(checks) as given (
        id uuid, service_name text, status text, latency_ms integer,
        checked_at timestamptz, probe_details jsonb
    )
    -- In one order, so that two sessions with the same checks cannot wait for each other in a circle.
    order by given.id
    on conflict do nothing;
    get diagnostics inserted = row_count;
    return jsonb_build_object('inserted', inserted);
end
$function$;

comment on function public.create_health_checks is
    'Stores an array of checks; says how many were new, rows with known ids are left as they are.';


create or replace function public.find_health_check(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select to_jsonb(found_check)
        from public.service_health_checks as found_check
        where found_check.id = find_health_check.id
    );
end
$function$;

comment on function public.find_health_check is 'The check with this id, or null.';


create or replace function public.find_health_checks(
    service_name text,
    since timestamptz default '-infinity',
    until timestamptz default 'infinity',
    status text default null,
    before_checked_at timestamptz default 'infinity',
    before_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    max_rows integer default 100
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(to_jsonb(page) order by page.checked_at desc, page.id desc), '[]'
        )
        from (
            select found_check.*
            from public.service_health_checks as found_check
            where found_check.service_name = find_health_checks.service_name
                and found_check.checked_at >= since
                and found_check.checked_at < until
                and (find_health_checks.status is null
                    or found_check.status = find_health_checks.status)
                and (found_check.checked_at, found_check.id) < (before_checked_at, before_id)
            order by found_check.checked_at desc, found_check.id desc
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_health_checks is
    'Checks of one service, newest first, within [since, until); the next page comes before '
    'the last row''s (checked_at, id).';


create or replace function public.find_latest_health_checks(
    service_name text default null,
    after_service_name text default null,
    stale_after_seconds double precision default 300,
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        -- A loose index scan: one step for each service, however many rows it has.
        with recursive services (name) as (
            -- Three cases, not one condition: a plan that is kept for all of them scans the table.
            select case
                when find_latest_health_checks.service_name is not null
                    then find_latest_health_checks.service_name
                when after_service_name is not null then (
                    select first_check.service_name::text
                    from public.service_health_checks as first_check
                    where first_check.service_name > after_service_name
                    order by first_check.service_name
                    limit 1
                )
                else (
                    select first_check.service_name::text
                    from public.service_health_checks as first_check
                    order by first_check.service_name
                    limit 1
                )
            end
            union all
            select (
                select next_check.service_name::text
                from public.service_health_checks as next_check
                where next_check.service_name > services.name
                order by next_check.service_name
                limit 1
            )
            from services
            where services.name is not null
                and find_latest_health_checks.service_name is null
        )
        select coalesce(
            jsonb_agg(
                to_jsonb(latest) || jsonb_build_object(
                    'age_seconds', latest.age_seconds,
                    'is_stale', latest.age_seconds > stale_after_seconds
                )
                order by latest.service_name
            ),
            '[]'
        )
        from (
            select
                newest.*,
                greatest(
                    0, extract(epoch from statement_timestamp() - newest.checked_at)
                ) as age_seconds
            from services
            cross join lateral (
                select found_check.*
                from public.service_health_checks as found_check
                where found_check.service_name = services.name
                order by found_check.checked_at desc, found_check.id desc
                limit 1
            ) as newest
            limit max_rows
        ) as latest
    );
end
$function$;

comment on function public.find_latest_health_checks is
    'The newest check of every service (or of one), with its age and whether it is stale.';


create or replace function public.count_health_checks_by_status(
    service_name text default null,
    since timestamptz default '-infinity',
    until timestamptz default 'infinity'
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    if count_health_checks_by_status.service_name is null then
        return (
            select jsonb_build_object(
                'healthy', count(*) filter (where counted.status = 'healthy'),
                'degraded', count(*) filter (where counted.status = 'degraded'),
                'down', count(*) filter (where counted.status = 'down')
            )
            from public.service_health_checks as counted
            where counted.checked_at >= since
                and counted.checked_at < until
                -- No check arrives more than five minutes before its time; this finds an index.
                and counted.created_at >= since - interval '5 minutes'
        );
    end if;
    return (
        select jsonb_build_object(
            'healthy', count(*) filter (where counted.status = 'healthy'),
            'degraded', count(*) filter (where counted.status = 'degraded'),
            'down', count(*) filter (where counted.status = 'down')
        )
        from public.service_health_checks as counted
        where counted.service_name = count_health_checks_by_status.service_name
            and counted.checked_at >= since
            and counted.checked_at < until
    );
end
$function$;

comment on function public.count_health_checks_by_status is
    'How many checks had each status within [since, until), of one service or of all.';


create or replace function public.delete_health_checks_older_than(
    cutoff timestamptz,
    max_rows integer default 1000
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    deleted bigint;
begin
    -- Skipping locked rows lets several janitors work side by side.
    with expired as materialized (
        select old_check.id, old_check.created_at
        from public.service_health_checks as old_check
        where old_check.created_at < cutoff
        order by old_check.created_at
        limit max_rows
        for update skip locked
    )
    delete from public.service_health_checks as old_check
    using expired
    where old_check.id = expired.id
        and old_check.created_at = expired.created_at;
    get diagnostics deleted = row_count;
    return to_jsonb(deleted);
end
$function$;

comment on function public.delete_health_checks_older_than is
    'Deletes at most max_rows checks that arrived before the cutoff; says how many.';


create or replace function public.create_alert_event(
    service_name text,
    alert_type text,
    status text default 'active',
    details jsonb default null,
    id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    stored public.alert_events;
begin
    if jsonb_typeof(details) = 'string' then
        details := (details #>> '{}')::jsonb;
    end if;
    insert into public.alert_events (id, service_name, alert_type, status, details, resolved_at)
    values (
        coalesce(id, gen_random_uuid()), service_name, alert_type, status, details,
        case when status = 'resolved' then current_timestamp end
    )
    on conflict do nothing
    returning * into stored;
    if not found then
        select earlier.* into stored
        from public.alert_events as earlier
        where earlier.id = create_alert_event.id;
    end if;
    return to_jsonb(stored);
end
$function$;

comment on function public.create_alert_event is
    'Stores one alert event and returns its row; a repeated id returns the row that is there.';


create or replace function public.find_alert_event(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select to_jsonb(event)
        from public.alert_events as event
        where event.id = find_alert_event.id
    );
end
$function$;

comment on function public.find_alert_event is 'The alert event with this id, or null.';


create or replace function public.find_active_alert_events(
    service_name text default null,
    after_created_at timestamptz default '-infinity',
    after_id uuid default '00000000-0000-0000-0000-000000000000',
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.created_at, page.id), '[]')
        from (
            select event.*
            from public.alert_events as event
            where event.status = 'active'
                and (find_active_alert_events.service_name is null
                    or event.service_name = find_active_alert_events.service_name)
                and (event.created_at, event.id) > (after_created_at, after_id)
            order by event.created_at, event.id
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_active_alert_events is
    'Active alert events, oldest first; the next page comes after the last row''s (created_at, id).';


create or replace function public.find_alert_events(
    service_name text,
    since timestamptz default '-infinity',
    until timestamptz default 'infinity',
    status text default null,
    before_created_at timestamptz default 'infinity',
    before_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    max_rows integer default 100
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(to_jsonb(page) order by page.created_at desc, page.id desc), '[]'
        )
        from (
            select event.*
            from public.alert_events as event
            where event.service_name = find_alert_events.service_name
                and event.created_at >= since
                and event.created_at < until
                and (find_alert_events.status is null or event.status = find_alert_events.status)
                and (event.created_at, event.id) < (before_created_at, before_id)
            order by event.created_at desc, event.id desc
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_events is
    'Alert events of one service, newest first, within [since, until); the next page comes '
    'before the last row''s (created_at, id).';


create or replace function public.resolve_alert_event(
    id uuid,
    resolved_at timestamptz default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    resolved public.alert_events;
begin
    update public.alert_events as event
    set status = 'resolved',
        resolved_at = coalesce(resolve_alert_event.resolved_at, current_timestamp)
    where event.id = resolve_alert_event.id
        and event.status = 'active'
    returning * into resolved;
    if found then
        return to_jsonb(resolved);
    end if;
    return public.find_alert_event(resolve_alert_event.id);
end
$function$;

comment on function public.resolve_alert_event is
    'Resolves an active event and returns its row; a resolved one is returned as it is.';


create or replace function public.delete_alert_events_older_than(
    cutoff timestamptz,
    max_rows integer default 1000
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    deleted bigint;
begin
    with expired as materialized (
        select event.id, event.created_at
        from public.alert_events as event
        where event.status = 'resolved'
            and event.created_at < cutoff
            and coalesce(event.resolved_at, event.created_at) < cutoff
        order by event.created_at
        limit max_rows
        for update skip locked
    )
    delete from public.alert_events as event
    using expired
    where event.id = expired.id
        and event.created_at = expired.created_at;
    get diagnostics deleted = row_count;
    return to_jsonb(deleted);
end
$function$;

comment on function public.delete_alert_events_older_than is
    'Deletes at most max_rows events that were resolved before the cutoff, never an active one.';


do $$
declare
    verb regprocedure;
    outsider text;
begin
    foreach verb in array array[
        'public.create_health_check(text, text, integer, timestamptz, jsonb, uuid)',
        'public.create_health_checks(json)',
        'public.find_health_check(uuid)',
        'public.find_health_checks(text, timestamptz, timestamptz, text, timestamptz, uuid, integer)',
        'public.find_latest_health_checks(text, text, double precision, integer)',
        'public.count_health_checks_by_status(text, timestamptz, timestamptz)',
        'public.delete_health_checks_older_than(timestamptz, integer)',
        'public.create_alert_event(text, text, text, jsonb, uuid)',
        'public.find_alert_event(uuid)',
        'public.find_active_alert_events(text, timestamptz, uuid, integer)',
        'public.find_alert_events(text, timestamptz, timestamptz, text, timestamptz, uuid, integer)',
        'public.resolve_alert_event(uuid, timestamptz)',
        'public.delete_alert_events_older_than(timestamptz, integer)'
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
