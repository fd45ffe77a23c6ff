-- Evaluation: new checks are handed over by a trigger, service by service, and each service is
-- taken from its state to the next. `evaluate_health_checks` is for who has no triggers, and for what
-- raced.
--
-- A service is steady while there is nothing to remember but that it is well; its healthy checks
-- are then not even looked at, which is what makes evaluation cheap.
--
-- Locks, in this order: service_states (of several services by name), alert_events,
-- alert_deliveries, alert_messages, alert_channels.

create or replace function public.pulsebase_lock_service_state(service_name text)
returns public.service_states
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    state public.service_states;
begin
    loop
        select known.* into state
        from public.service_states as known
        where known.service_name = pulsebase_lock_service_state.service_name
        for update;
        exit when found;
        insert into public.service_states (service_name)
        values (service_name)
        on conflict do nothing;
    end loop;
    state.last_checked_at := coalesce(state.last_checked_at, '-infinity');
    state.last_check_id := coalesce(state.last_check_id, '00000000-0000-0000-0000-000000000000');
    return state;
end
$function$;

comment on function public.pulsebase_lock_service_state is
    'The state of a service, which is made where there is none, locked until our end.';


create or replace function public.pulsebase_state_after_quiet(
    state public.service_states,
    new_ids jsonb
) returns public.service_states
language plpgsql
stable
set search_path = ''
as $function$
declare
    newest record;
begin
    -- Healthy checks of a steady service were decided on by being left alone.
    select known.checked_at, known.id into newest
    from public.service_health_checks as known
    where known.service_name = state.service_name
        and not coalesce(new_ids ? known.id::text, false)
        -- A row from the future, older than the rule that refuses such, would blind us until then.
        and isfinite(known.checked_at)
        and known.checked_at <= clock_timestamp() + interval '5 minutes'
    order by known.checked_at desc, known.id desc
    limit 1;
    if (newest.checked_at, newest.id) > (state.last_checked_at, state.last_check_id) then
        if newest.checked_at > state.last_checked_at then
            state.evaluated_ids := '{}';
        end if;
        state.last_checked_at := newest.checked_at;
        state.last_check_id := newest.id;
    end if;
    return state;
end
$function$;

comment on function public.pulsebase_state_after_quiet is
    'The state of a steady service after all its checks but the ones that are new.';


create or replace function public.pulsebase_keep_service_state(state public.service_states)
returns void
language plpgsql
volatile
set search_path = ''
as $function$
declare
    steady constant boolean := public.pulsebase_is_steady_state(state);
begin
    update public.service_states as known
    set status = state.status,
        since = state.since,
        is_steady = steady,
        last_checked_at = state.last_checked_at,
        last_check_id = state.last_check_id,
        evaluated_ids = state.evaluated_ids,
        tracks = case when steady then '{}' else state.tracks end,
        incident_id = state.incident_id,
        event_id = state.event_id,
        first_failed = state.first_failed,
        last_failed = state.last_failed,
        changed_at = state.changed_at,
        flapping_since = state.flapping_since,
        flapping_incident_id = state.flapping_incident_id,
        flapping_event_id = state.flapping_event_id,
        updated_at = clock_timestamp()
    where known.service_name = state.service_name;
end
$function$;

comment on function public.pulsebase_keep_service_state is 'Stores the state of a service.';


-- New checks are the keys of an object, {"<id>": true}: those are found at once, however many a
-- batch has of one service, and whatever plan a session keeps.
create or replace function public.pulsebase_evaluate_service(
    service_name text,
    new_ids jsonb default null
) returns bigint
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    state public.service_states;
    newest public.service_health_checks;
    policy jsonb;
    rules public.alert_rules;
    after_at timestamptz;
    after_id uuid;
    evaluated bigint := 0;
    -- What is older is only stored: no duration can be taken from the first moments there are.
    earliest constant timestamptz := '4713-01-01 00:00:00+00 BC';
    latest constant timestamptz := clock_timestamp() + interval '5 minutes';
begin
    state := public.pulsebase_lock_service_state(service_name);
    if state.is_steady then
        state := public.pulsebase_state_after_quiet(state, new_ids);
    end if;
    after_at := state.last_checked_at;
    after_id := state.last_check_id;
    for newest in
        select known.*
        from public.service_health_checks as known
        where known.service_name = pulsebase_evaluate_service.service_name
            and known.checked_at >= after_at
            and (
                (known.checked_at, known.id) > (after_at, after_id)
                -- Checks of one transaction bear one time, and their ids any order.
                or (new_ids ? known.id::text and not known.id = any (state.evaluated_ids))
            )
            and known.checked_at between earliest and latest
        order by known.checked_at, known.id
    loop
        if evaluated = 0 then
            policy := public.alert_policy_of(service_name);
            rules := public.pulsebase_alert_rules_of(policy);
            if state.is_steady then
                state.tracks := public.pulsebase_quiet_tracks(newest, new_ids, rules.location_fresh);
            end if;
        end if;
        state := public.pulsebase_step_service(state, newest, rules, policy);
        evaluated := evaluated + 1;
    end loop;
    if evaluated > 0 then
        perform public.pulsebase_keep_service_state(state);
    end if;
    return evaluated;
end
$function$;

comment on function public.pulsebase_evaluate_service is
    'Evaluates the stored checks of a service that nobody has evaluated yet; how many they were.';


create or replace function public.evaluate_health_checks(checks jsonb default null) returns jsonb
language plpgsql
volatile
set search_path = ''
-- Whole services fail at once, in tables whose statistics are from when all was well: by those a
-- scan looks cheap, and a session keeps that plan. What is called from here inherits both.
set enable_seqscan = off
set jit = off
as $function$
declare
    handed record;
    evaluated bigint := 0;
begin
    if jsonb_typeof(checks) = 'string' then
        checks := (checks #>> '{}')::jsonb;
    end if;
    if checks is not null then
        for handed in
            select one.service_name, jsonb_object_agg(one.id, true) as new_ids
            from jsonb_to_recordset(checks) as one (service_name text, id uuid)
            where one.id is not null
            group by one.service_name
            -- In one order, so that two writers cannot wait for each other in a circle.
            order by one.service_name collate "C"
        loop
            evaluated := evaluated + public.pulsebase_evaluate_service(handed.service_name, handed.new_ids);
        end loop;
        return jsonb_build_object('evaluated', evaluated);
    end if;
    -- Checks that were committed while another session decided: neither saw the other.
    for handed in
        select state.service_name
        from public.service_states as state
        where not state.is_steady
            and exists (
                select
                from public.service_health_checks as unseen
                where unseen.service_name = state.service_name
                    and (unseen.checked_at, unseen.id)
                        > (
                            coalesce(state.last_checked_at, '-infinity'),
                            coalesce(
                                state.last_check_id, '00000000-0000-0000-0000-000000000000'
                            )
                        )
                    and isfinite(unseen.checked_at)
            )
        order by state.service_name collate "C"
    loop
        perform
        from public.service_states as state
        where state.service_name = handed.service_name
        for update skip locked;
        if found then
            evaluated := evaluated + public.pulsebase_evaluate_service(handed.service_name);
        end if;
    end loop;
    return jsonb_build_object('evaluated', evaluated);
end
$function$;

comment on function public.evaluate_health_checks is
    'Evaluates stored checks, given as rows with service_name and id, service by service; without '
    'any, those of services in trouble that nobody has evaluated yet. Says how many they were.';


create or replace function public.find_service_states(
    service_name text default null,
    after_service_name text default null,
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.service_name), '[]')
        from (
            select
                known.service_name, known.status, known.since, known.is_steady,
                known.last_checked_at, known.tracks, known.incident_id, known.event_id,
                known.first_failed, known.last_failed, known.changed_at, known.flapping_since,
                known.updated_at
            from public.service_states as known
            where (find_service_states.service_name is null
                    or known.service_name = find_service_states.service_name)
                and (after_service_name is null or known.service_name > after_service_name)
            order by known.service_name
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_service_states is
    'What has been decided of services, by name; the next page comes after the last row''s name.';


create or replace function public.evaluate_new_checks() returns trigger
language plpgsql
security definer
set search_path = ''
set enable_seqscan = off
set jit = off
as $function$
declare
    handed record;
begin
    -- The common case first, without a look at single services: all is well, and was.
    if not exists (select from new_checks where new_checks.status <> 'healthy')
        and not exists (select from public.service_states as state where not state.is_steady)
    then
        return null;
    end if;
    for handed in
        select
            named.service_name,
            (
                select jsonb_object_agg(arrived.id, true)
                from unnest(named.ids) as arrived (id)
            ) as new_ids
        from (
            select
                arrived.service_name,
                bool_or(arrived.status <> 'healthy') as has_failed,
                array_agg(arrived.id) as ids
            from new_checks as arrived
            group by arrived.service_name
        ) as named
        where named.has_failed
            -- A session keeps the plan of its first statement, be that one row or ten thousand:
            -- this one, unlike "exists" or a join, is a look into the index for each service.
            or (
                select true
                from public.service_states as state
                where state.service_name = named.service_name
                    and not state.is_steady
            )
        -- In one order, so that two writers cannot wait for each other in a circle.
        order by named.service_name collate "C"
    loop
        perform public.pulsebase_evaluate_service(handed.service_name, handed.new_ids);
    end loop;
    return null;
end
$function$;

comment on function public.evaluate_new_checks is
    'Hands new checks over to evaluation, those of services that are not well or were not.';

drop trigger if exists evaluate_new_checks on public.service_health_checks;

create trigger evaluate_new_checks
    after insert on public.service_health_checks
    referencing new table as new_checks
    for each statement
    execute function public.evaluate_new_checks();


do $$
declare
    verb regprocedure;
    outsider text;
begin
    for verb in
        select own.oid
        from pg_catalog.pg_proc as own
        where own.pronamespace = 'public'::regnamespace
            and own.proname = any (array[
                'pulsebase_lock_service_state',
                'pulsebase_state_after_quiet',
                'pulsebase_keep_service_state',
                'pulsebase_evaluate_service',
                'evaluate_health_checks',
                'find_service_states',
                'evaluate_new_checks'
            ])
    loop
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
