-- Transitions: the status of a service follows what its locations agree on. Each change opens or
-- resolves events, and hands over to the outbox.
--
-- Locks, in this order: service_states (of several services by name), alert_events,
-- alert_deliveries, alert_messages, alert_channels.

create or replace function public.pulsebase_alert_reason(probe_details jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
declare
    failed constant jsonb := probe_details -> 'failed';
begin
    return left(
        coalesce(
            probe_details #>> '{error,message}',
            case
                when jsonb_typeof(failed) = 'object' and failed ? 'expectation' then format(
                    '%s: expected %s, got %s',
                    failed ->> 'expectation', failed ->> 'expected', failed ->> 'got'
                )
            end,
            probe_details ->> 'reason',
            probe_details ->> 'message',
            probe_details ->> 'error',
            'no reason given'
        ),
        500
    );
end
$function$;

comment on function public.pulsebase_alert_reason is 'Why a check was not healthy, by its details.';


create or replace function public.pulsebase_check_summary(found_check public.service_health_checks)
returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return jsonb_build_object(
        'id', found_check.id,
        'checked_at', found_check.checked_at,
        'status', found_check.status,
        'latency_ms', found_check.latency_ms,
        'location', left(found_check.probe_details ->> 'location', 100),
        'reason', case
            when found_check.status <> 'healthy'
                then public.pulsebase_alert_reason(found_check.probe_details)
        end
    );
end
$function$;

comment on function public.pulsebase_check_summary is 'What an event keeps of a check.';


create or replace function public.pulsebase_moment_of(given jsonb) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
declare
    moment timestamptz;
begin
    moment := given #>> '{}';
    return case when isfinite(moment) then moment end;
exception
    when invalid_datetime_format or datetime_field_overflow then
        return null;
end
$function$;

comment on function public.pulsebase_moment_of is
    'A moment out of the details of an event, which anybody may have written; null if it is none.';


create or replace function public.pulsebase_details_with(details jsonb, more jsonb) returns jsonb
language plpgsql
immutable
set search_path = ''
as $function$
declare
    own constant jsonb := case when jsonb_typeof(details) = 'object' then details else '{}' end;
begin
    -- An event that was made by hand may be full up to its bound.
    return case
        when octet_length((own || more)::text) <= 65536 then own || more
        else more
    end;
end
$function$;

comment on function public.pulsebase_details_with is
    'The details of an event with more in them, within the bound of 64 KiB.';


create or replace function public.pulsebase_open_alert_event(
    service_name text,
    alert_type text,
    details jsonb
) returns uuid
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    opened_id uuid;
begin
    loop
        insert into public.alert_events (service_name, alert_type, status, details, created_at)
        values (service_name, alert_type, 'active', details, clock_timestamp())
        on conflict do nothing
        returning id into opened_id;
        if found then
            return opened_id;
        end if;
        -- Somebody has opened one by hand: it becomes this one.
        update public.alert_events as known
        set details = public.pulsebase_details_with(known.details, pulsebase_open_alert_event.details)
        where known.service_name = pulsebase_open_alert_event.service_name
            and known.alert_type = pulsebase_open_alert_event.alert_type
            and known.status = 'active'
        returning known.id into opened_id;
        if found then
            return opened_id;
        end if;
    end loop;
end
$function$;

comment on function public.pulsebase_open_alert_event is
    'The active event of a service and type: a new one, or the one that somebody made by hand.';


create or replace function public.pulsebase_close_alert_event(
    id uuid,
    resolved_at timestamptz,
    details jsonb
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
begin
    update public.alert_events as event
    set status = 'resolved',
        resolved_at = pulsebase_close_alert_event.resolved_at,
        details = public.pulsebase_details_with(event.details, pulsebase_close_alert_event.details)
    where event.id = pulsebase_close_alert_event.id
        -- Not by the index on status, under which thousands may be active.
        and event.status is not distinct from 'active';
end
$function$;

comment on function public.pulsebase_close_alert_event is 'Resolves an active event, and says how.';


create or replace function public.pulsebase_opening_details(
    state public.service_states,
    verdict text,
    since timestamptz,
    newest public.service_health_checks,
    track jsonb,
    policy jsonb
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    level constant text := case verdict when 'down' then 'down' else 'degraded' end;
    first_failed jsonb;
begin
    select public.pulsebase_check_summary(failed) into first_failed
    from public.service_health_checks as failed
    where failed.service_name = state.service_name
        and failed.checked_at = since
        and failed.status <> 'healthy'
    order by failed.id
    limit 1;
    return jsonb_build_object(
        'incident_id', state.incident_id,
        'started_at', since,
        'status', verdict,
        'previous_status', state.status,
        'reason', public.pulsebase_alert_reason(newest.probe_details),
        'location', left(newest.probe_details ->> 'location', 100),
        'streak', track -> 'failing_streak',
        'first_failed', coalesce(first_failed, public.pulsebase_check_summary(newest)),
        'last_failed', coalesce(state.last_failed, public.pulsebase_check_summary(newest)),
        'policy', jsonb_build_object(
            'checks', policy -> (level || '_open_checks'),
            'of', policy -> (level || '_open_of'),
            'seconds', policy -> (level || '_open_seconds')
        )
    );
end
$function$;

comment on function public.pulsebase_opening_details is
    'What an event says when it opens: since when, why, where, and by which rule.';


create or replace function public.pulsebase_open_alert(
    state public.service_states,
    verdict text,
    since timestamptz,
    newest public.service_health_checks,
    rules public.alert_rules,
    policy jsonb
) returns public.service_states
language plpgsql
volatile
set search_path = ''
as $function$
declare
    alert_type constant text := 'service_' || verdict;
    previous_event_id constant uuid := state.event_id;
    is_new constant boolean := state.status = 'healthy';
    details jsonb;
    began_flapping boolean := false;
begin
    if is_new then
        state.incident_id := gen_random_uuid();
        state.changed_at := (array_prepend(newest.checked_at, state.changed_at))[:100];
    end if;
    details := public.pulsebase_opening_details(
        state, verdict, since, newest,
        state.tracks -> public.pulsebase_location_of(newest.probe_details), policy
    );
    if is_new then
        state.first_failed := details -> 'first_failed';
    else
        details := details || jsonb_build_object('supersedes', previous_event_id);
    end if;
    state.event_id := public.pulsebase_open_alert_event(state.service_name, alert_type, details);
    if not is_new then
        -- What brought the other may have begun before this one did.
        perform public.pulsebase_close_alert_event(
            previous_event_id, greatest(since, state.since),
            jsonb_build_object(
                'resolved_by', 'superseded',
                'superseded_by', state.event_id,
                'last_failed', state.last_failed,
                'downtime_seconds',
                    extract(epoch from greatest(since, state.since) - state.since)
            )
        );
    end if;
    state.status := verdict;
    state.since := since;
    if is_new and state.flapping_since is null and rules.flapping_changes > 0 then
        began_flapping := rules.flapping_changes <= (
            select count(*)
            from unnest(state.changed_at) as change (moment)
            where change.moment > newest.checked_at - rules.flapping_within
        );
    end if;
    if began_flapping then
        state.flapping_since := newest.checked_at;
        state.flapping_incident_id := state.incident_id;
        state.flapping_event_id := state.event_id;
        perform public.queue_alert_messages(
            'flapping_started', state.service_name, state.incident_id, state.event_id
        );
    elsif state.flapping_since is null then
        perform public.queue_alert_messages(
            case when is_new then 'opened' else 'superseded' end,
            state.service_name, state.incident_id, state.event_id,
            case when not is_new then previous_event_id end
        );
    end if;
    return state;
end
$function$;

comment on function public.pulsebase_open_alert is
    'The state after an alert opened, or took the place of another; the event and its messages '
    'are written.';


create or replace function public.pulsebase_recover_service(
    state public.service_states,
    since timestamptz,
    newest public.service_health_checks
) returns public.service_states
language plpgsql
volatile
set search_path = ''
as $function$
declare
    opened_event_id constant uuid := state.event_id;
    incident_id constant uuid := state.incident_id;
    started_at timestamptz := (state.first_failed ->> 'checked_at')::timestamptz;
    recovery_id constant uuid := gen_random_uuid();
    opened jsonb;
    worst_status text;
    first_healthy jsonb;
    closing jsonb;
begin
    select public.pulsebase_check_summary(healed) into first_healthy
    from public.service_health_checks as healed
    where healed.service_name = state.service_name
        and healed.checked_at = since
        and healed.status = 'healthy'
    order by healed.id
    limit 1;
    select event.details into opened
    from public.alert_events as event
    where event.id = opened_event_id;
    -- Locations that disagree may have opened it with what one of them saw earlier.
    started_at := least(
        coalesce(started_at, state.since), public.pulsebase_moment_of(opened -> 'started_at')
    );
    -- Where one event took the place of another, one of the two was about being down.
    worst_status := case
        when state.status = 'down' or opened ? 'supersedes' then 'down'
        else state.status
    end;
    closing := jsonb_build_object(
        'last_failed', state.last_failed,
        'first_healthy', coalesce(first_healthy, public.pulsebase_check_summary(newest)),
        'downtime_seconds', greatest(0, extract(epoch from since - started_at))
    );
    perform public.pulsebase_close_alert_event(
        opened_event_id, since,
        closing || jsonb_build_object('resolved_by', 'recovery', 'recovery_event_id', recovery_id)
    );
    insert into public.alert_events
        (id, service_name, alert_type, status, details, created_at, resolved_at)
    values (
        recovery_id, state.service_name, 'recovery', 'resolved',
        closing || jsonb_build_object(
            'incident_id', incident_id,
            'opened_event_id', opened_event_id,
            'started_at', started_at,
            'resolved_at', since,
            'status', state.status,
            'worst_status', worst_status,
            'first_failed', state.first_failed
        ),
        clock_timestamp(), since
    );
    if state.flapping_since is null then
        perform public.queue_alert_messages(
            'recovered', state.service_name, incident_id, opened_event_id
        );
    end if;
    state.status := 'healthy';
    state.since := since;
    state.incident_id := null;
    state.event_id := null;
    state.first_failed := null;
    state.last_failed := null;
    state.changed_at := (array_prepend(newest.checked_at, state.changed_at))[:100];
    return state;
end
$function$;

comment on function public.pulsebase_recover_service is
    'The state after a recovery; the event that was active is resolved, the recovery is written.';


create or replace function public.pulsebase_end_flapping(
    state public.service_states,
    checked_at timestamptz,
    rules public.alert_rules
) returns public.service_states
language plpgsql
volatile
set search_path = ''
as $function$
begin
    if state.flapping_since is null
        or (rules.flapping_changes > 0 and checked_at < state.changed_at[1] + rules.flapping_within)
    then
        return state;
    end if;
    perform public.queue_alert_messages(
        'flapping_ended', state.service_name,
        coalesce(state.incident_id, state.flapping_incident_id),
        coalesce(state.event_id, state.flapping_event_id),
        state.flapping_event_id
    );
    state.flapping_since := null;
    state.flapping_incident_id := null;
    state.flapping_event_id := null;
    return state;
end
$function$;

comment on function public.pulsebase_end_flapping is
    'The state after a check, by which the service may have kept still for long enough.';


create or replace function public.pulsebase_step_service(
    state public.service_states,
    newest public.service_health_checks,
    rules public.alert_rules,
    policy jsonb
) returns public.service_states
language plpgsql
volatile
set search_path = ''
as $function$
declare
    location constant text := public.pulsebase_location_of(newest.probe_details);
    seen constant text := case
        when newest.status = 'degraded' and not rules.watches_degraded then 'healthy'
        else newest.status
    end;
    track jsonb := state.tracks -> location;
    vote jsonb;
begin
    state := public.pulsebase_end_flapping(state, newest.checked_at, rules);
    -- A location that is heard for the first time, or again after a silence, goes on from what is
    -- decided: one check of it must not undo what others have seen.
    if state.tracks - location <> '{}' and (
        track is null
        or (track ->> 'last_checked_at')::timestamptz < newest.checked_at - rules.location_fresh
    ) then
        track := jsonb_build_object('verdict', state.status, 'verdict_since', state.since);
    end if;
    state.tracks := jsonb_set(
        public.pulsebase_tracks_with_room(state.tracks, location), array[location],
        public.pulsebase_step_alert_track(track, seen, newest.checked_at, rules)
    );
    if newest.checked_at > state.last_checked_at then
        state.evaluated_ids := '{}';
    end if;
    if cardinality(state.evaluated_ids) < 100 then
        state.evaluated_ids := state.evaluated_ids || newest.id;
    end if;
    if (newest.checked_at, newest.id) > (state.last_checked_at, state.last_check_id) then
        state.last_checked_at := newest.checked_at;
        state.last_check_id := newest.id;
    end if;
    if seen <> 'healthy' then
        state.last_failed := public.pulsebase_check_summary(newest);
    end if;
    vote := public.pulsebase_vote_of_tracks(state.tracks, location, newest.checked_at, rules);
    if vote ->> 'verdict' = 'healthy' and state.status <> 'healthy' then
        state := public.pulsebase_recover_service(state, (vote ->> 'since')::timestamptz, newest);
    elsif vote ->> 'verdict' <> state.status then
        state := public.pulsebase_open_alert(
            state, vote ->> 'verdict', (vote ->> 'since')::timestamptz, newest, rules, policy
        );
    end if;
    return state;
end
$function$;

comment on function public.pulsebase_step_service is
    'The state after one more check; what comes of it is written.';


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
    loop
        insert into public.alert_events (id, service_name, alert_type, status, details, resolved_at)
        values (
            coalesce(id, gen_random_uuid()), service_name, alert_type, status, details,
            case when status = 'resolved' then current_timestamp end
        )
        on conflict do nothing
        returning * into stored;
        exit when found;
        -- The same call again, or one that somebody else made active before.
        select earlier.* into stored
        from public.alert_events as earlier
        where earlier.id = create_alert_event.id
            or (
                create_alert_event.status = 'active'
                and earlier.status = 'active'
                and earlier.service_name = create_alert_event.service_name
                and earlier.alert_type = create_alert_event.alert_type
            )
        order by earlier.id = create_alert_event.id desc nulls last
        limit 1;
        exit when found;
    end loop;
    return to_jsonb(stored);
end
$function$;

comment on function public.create_alert_event is
    'Stores one alert event and returns its row; a repeated id returns the row that is there, and '
    'so does an active event of a service and type of which there is one.';


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
                'pulsebase_alert_reason',
                'pulsebase_check_summary',
                'pulsebase_moment_of',
                'pulsebase_details_with',
                'pulsebase_open_alert_event',
                'pulsebase_close_alert_event',
                'pulsebase_opening_details',
                'pulsebase_open_alert',
                'pulsebase_recover_service',
                'pulsebase_end_flapping',
                'pulsebase_step_service',
                'create_alert_event'
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
