-- Evaluation: what a check means for its service. A trigger hands new checks over, service by
-- service, to `evaluate_service`, which steps the state and opens and resolves events.
-- `evaluate_health_checks` is for who has no triggers, and for what raced.
--
-- The state has two levels. A *track* is what one location says: its streaks, and a verdict by the
-- policy. The *status* of the service follows from the verdicts of the locations that are fresh.
-- A service is steady while there is nothing to remember but that it is well; its healthy checks
-- are then not even looked at, which is what makes evaluation cheap.
--
-- Locks, in this order: service_states (of several services by name), alert_events, deliveries.

do $$
begin
    if to_regtype('public.alert_rules') is null then
        -- A policy, read: every value is there and within its bounds.
        create type public.alert_rules as (
            opens boolean,
            watches_degraded boolean,
            down_open_checks integer,
            down_open_of integer,
            down_open_seconds double precision,
            down_close_checks integer,
            degraded_open_checks integer,
            degraded_open_of integer,
            degraded_open_seconds double precision,
            degraded_close_checks integer,
            locations_agree integer,
            location_fresh interval,
            flapping_changes integer,
            flapping_within interval
        );
    end if;
end
$$;


create or replace function public.default_alert_policy() returns jsonb
language sql
immutable
set search_path = ''
as $function$
    select '{
        "enabled": true, "degraded_enabled": true,
        "down_open_checks": 3, "down_open_of": null, "down_open_seconds": null,
        "down_close_checks": 2,
        "degraded_open_checks": 3, "degraded_open_of": null, "degraded_open_seconds": null,
        "degraded_close_checks": 2,
        "locations_agree": 0, "location_fresh_seconds": 300,
        "flapping_changes": 6, "flapping_within_seconds": 3600
    }'::jsonb
$function$;

comment on function public.default_alert_policy is 'The policy of a service for which none is set.';


create or replace function public.alert_policy_of(service_name text) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    known public.monitored_services;
    policy jsonb := public.default_alert_policy();
    matching jsonb;
begin
    select watched.* into known
    from public.monitored_services as watched
    where watched.service_name = alert_policy_of.service_name;
    for matching in
        select layer.alert_policy
        from public.alert_policies as layer
        where layer.matcher is null
            or public.matches_service(
                layer.matcher, alert_policy_of.service_name, coalesce(known.labels, '{}')
            )
        order by layer.position
    loop
        policy := policy || matching;
    end loop;
    return policy || coalesce(known.alert_policy, '{}');
end
$function$;

comment on function public.alert_policy_of is
    'The policy of a service: the built-in one, then those that match it in their order, then its '
    'own, key by key.';


create or replace function public.number_within(
    given jsonb,
    lowest double precision,
    highest double precision,
    otherwise double precision
) returns double precision
language plpgsql
immutable
set search_path = ''
as $function$
begin
    if jsonb_typeof(given) = 'number' and given::numeric between lowest and highest then
        return given::double precision;
    end if;
    return otherwise;
end
$function$;

comment on function public.number_within is
    'A number out of JSON if it is one and within its bounds, else the other value.';


create or replace function public.alert_rules_of(policy jsonb) returns public.alert_rules
language plpgsql
immutable
set search_path = ''
as $function$
declare
    longest constant double precision := 30 * 86400;
    rules public.alert_rules;
begin
    -- Whatever somebody wrote into the table by hand, a check must never be refused because of it.
    rules.opens := policy -> 'enabled' is distinct from 'false';
    rules.watches_degraded := policy -> 'degraded_enabled' is distinct from 'false';
    rules.down_open_checks := public.number_within(policy -> 'down_open_checks', 1, 100, 3);
    rules.down_open_of := public.number_within(
        policy -> 'down_open_of', rules.down_open_checks, 100, rules.down_open_checks
    );
    rules.down_open_seconds := public.number_within(
        policy -> 'down_open_seconds', 1e-6, longest, null
    );
    rules.down_close_checks := public.number_within(policy -> 'down_close_checks', 1, 100, 2);
    rules.degraded_open_checks := public.number_within(
        policy -> 'degraded_open_checks', 1, 100, 3
    );
    rules.degraded_open_of := public.number_within(
        policy -> 'degraded_open_of', rules.degraded_open_checks, 100, rules.degraded_open_checks
    );
    rules.degraded_open_seconds := public.number_within(
        policy -> 'degraded_open_seconds', 1e-6, longest, null
    );
    rules.degraded_close_checks := public.number_within(
        policy -> 'degraded_close_checks', 1, 100, 2
    );
    rules.locations_agree := public.number_within(policy -> 'locations_agree', -1, 1000, 0);
    rules.location_fresh := make_interval(
        secs => public.number_within(policy -> 'location_fresh_seconds', 1e-6, longest, 300)
    );
    rules.flapping_changes := public.number_within(policy -> 'flapping_changes', 0, 100, 6);
    rules.flapping_within := make_interval(
        secs => public.number_within(policy -> 'flapping_within_seconds', 1e-6, longest, 3600)
    );
    return rules;
end
$function$;

comment on function public.alert_rules_of is
    'A policy read into its rules; what is missing or out of bounds has the built-in value.';


create or replace function public.kept_window_length(rules public.alert_rules) returns integer
language plpgsql
immutable
set search_path = ''
as $function$
begin
    -- N in a row is counted by the streaks; only N of M needs to know what was when.
    return greatest(
        case
            when rules.down_open_seconds is null and rules.down_open_of > rules.down_open_checks
                then rules.down_open_of
            else 0
        end,
        case
            when rules.degraded_open_seconds is null
                and rules.degraded_open_of > rules.degraded_open_checks
                then rules.degraded_open_of
            else 0
        end
    );
end
$function$;

comment on function public.kept_window_length is
    'How many of the newest checks a track has to remember one by one.';


create or replace function public.begins_opening(
    track jsonb,
    counts_down_only boolean,
    checked_at timestamptz,
    open_checks integer,
    open_of integer,
    open_seconds double precision
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
declare
    streak constant integer :=
        (track ->> case when counts_down_only then 'down_streak' else 'failing_streak' end)::integer;
    streak_since constant timestamptz :=
        (track ->> case when counts_down_only then 'down_since' else 'failing_since' end)::timestamptz;
    failed integer;
    failed_since timestamptz;
begin
    if streak = 0 then
        return null;
    end if;
    if open_seconds is not null then
        return case
            when checked_at >= streak_since + make_interval(secs => open_seconds) then streak_since
        end;
    end if;
    if open_of <= open_checks then
        return case when streak >= open_checks then streak_since end;
    end if;
    select count(*), min((newest.one ->> 'at')::timestamptz)
    into failed, failed_since
    from jsonb_array_elements(track -> 'window') with ordinality as newest (one, position)
    where newest.position > jsonb_array_length(track -> 'window') - open_of
        and case
            when counts_down_only then newest.one ->> 'status' = 'down'
            else newest.one ->> 'status' <> 'healthy'
        end;
    return case
        when failed >= open_checks then failed_since
        -- The window remembers only what came since its policy was published.
        when streak >= open_checks then streak_since
    end;
end
$function$;

comment on function public.begins_opening is
    'Since when a track has failed, if it has failed often or long enough to open; else null.';


create or replace function public.count_into_track(
    track jsonb,
    status text,
    checked_at timestamptz,
    window_length integer
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    moment constant text := to_json(checked_at) #>> '{}';
    down_streak constant integer := case
        when status = 'down' then coalesce((track ->> 'down_streak')::integer, 0) + 1
        else 0
    end;
    failing_streak constant integer := case
        when status <> 'healthy' then coalesce((track ->> 'failing_streak')::integer, 0) + 1
        else 0
    end;
    up_streak constant integer := case
        when status <> 'down' then coalesce((track ->> 'up_streak')::integer, 0) + 1
        else 0
    end;
    healthy_streak constant integer := case
        when status = 'healthy' then coalesce((track ->> 'healthy_streak')::integer, 0) + 1
        else 0
    end;
    kept jsonb := '[]';
begin
    if window_length > 0 then
        kept := coalesce(track -> 'window', '[]')
            || jsonb_build_object('status', status, 'at', moment);
        while jsonb_array_length(kept) > window_length loop
            kept := kept - 0;
        end loop;
    end if;
    return jsonb_build_object(
        'verdict', coalesce(track ->> 'verdict', 'healthy'),
        'verdict_since', track -> 'verdict_since',
        'status', status,
        'last_checked_at', moment,
        'down_streak', down_streak,
        'down_since', case when down_streak > 1 then track ->> 'down_since' else moment end,
        'failing_streak', failing_streak,
        'failing_since', case when failing_streak > 1 then track ->> 'failing_since' else moment end,
        'up_streak', up_streak,
        'up_since', case when up_streak > 1 then track ->> 'up_since' else moment end,
        'healthy_streak', healthy_streak,
        'healthy_since', case when healthy_streak > 1 then track ->> 'healthy_since' else moment end,
        'window', kept
    );
end
$function$;

comment on function public.count_into_track is
    'A track after one more check: its streaks, each with its beginning, and its window.';


create or replace function public.step_alert_track(
    track jsonb,
    status text,
    checked_at timestamptz,
    rules public.alert_rules
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    verdict constant text := coalesce(track ->> 'verdict', 'healthy');
    since timestamptz;
begin
    track := public.count_into_track(
        track, status, checked_at, public.kept_window_length(rules)
    );
    if rules.opens and verdict <> 'down' and status = 'down' then
        since := public.begins_opening(
            track, true, checked_at, rules.down_open_checks, rules.down_open_of,
            rules.down_open_seconds
        );
        if since is not null then
            return track || jsonb_build_object('verdict', 'down', 'verdict_since', since);
        end if;
    end if;
    if rules.opens and verdict = 'healthy' and status <> 'healthy' then
        since := public.begins_opening(
            track, false, checked_at, rules.degraded_open_checks, rules.degraded_open_of,
            rules.degraded_open_seconds
        );
        if since is not null and rules.watches_degraded then
            return track || jsonb_build_object('verdict', 'degraded', 'verdict_since', since);
        end if;
    elsif verdict <> 'healthy' and (track ->> 'healthy_streak')::integer >= (
        case verdict when 'down' then rules.down_close_checks else rules.degraded_close_checks end
    ) then
        return track || jsonb_build_object(
            'verdict', 'healthy', 'verdict_since', track -> 'healthy_since', 'window', '[]'::jsonb
        );
    elsif verdict = 'down' and (track ->> 'up_streak')::integer >= rules.down_close_checks then
        return track || jsonb_build_object(
            'verdict', 'degraded', 'verdict_since', track -> 'up_since', 'window', '[]'::jsonb
        );
    end if;
    return track;
end
$function$;

comment on function public.step_alert_track is
    'A track after one more check, with the verdict that its location comes to.';


create or replace function public.vote_of_tracks(
    tracks jsonb,
    location text,
    checked_at timestamptz,
    rules public.alert_rules
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    fresh integer;
    say_down integer;
    say_failing integer;
    needed integer;
    down_since timestamptz;
    failing_since timestamptz;
begin
    if tracks - location = '{}' then
        return jsonb_build_object(
            'verdict', tracks -> location -> 'verdict',
            'since', tracks -> location -> 'verdict_since'
        );
    end if;
    select
        count(*),
        count(*) filter (where one.track ->> 'verdict' = 'down'),
        count(*) filter (where one.track ->> 'verdict' <> 'healthy'),
        min((one.track ->> 'verdict_since')::timestamptz)
            filter (where one.track ->> 'verdict' = 'down'),
        min((one.track ->> 'verdict_since')::timestamptz)
            filter (where one.track ->> 'verdict' <> 'healthy')
    into fresh, say_down, say_failing, down_since, failing_since
    from jsonb_each(tracks) as one (location, track)
    where (one.track ->> 'last_checked_at')::timestamptz >= checked_at - rules.location_fresh;
    needed := case rules.locations_agree
        when 0 then fresh / 2 + 1
        when -1 then fresh
        else least(rules.locations_agree, fresh)
    end;
    return case
        when say_down >= needed
            then jsonb_build_object('verdict', 'down', 'since', down_since)
        when say_failing >= needed
            then jsonb_build_object('verdict', 'degraded', 'since', failing_since)
        else jsonb_build_object('verdict', 'healthy', 'since', checked_at)
    end;
end
$function$;

comment on function public.vote_of_tracks is
    'What the locations that are fresh agree on, and since when; a silent one does not vote.';


create or replace function public.alert_reason(probe_details jsonb) returns text
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

comment on function public.alert_reason is 'Why a check was not healthy, by its details.';


create or replace function public.check_summary(found_check public.service_health_checks)
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
                then public.alert_reason(found_check.probe_details)
        end
    );
end
$function$;

comment on function public.check_summary is 'What an event keeps of a check.';


create or replace function public.details_with(details jsonb, more jsonb) returns jsonb
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

comment on function public.details_with is
    'The details of an event with more in them, within the bound of 64 KiB.';


create or replace function public.open_alert_event(
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
        set details = public.details_with(known.details, open_alert_event.details)
        where known.service_name = open_alert_event.service_name
            and known.alert_type = open_alert_event.alert_type
            and known.status = 'active'
        returning known.id into opened_id;
        if found then
            return opened_id;
        end if;
    end loop;
end
$function$;

comment on function public.open_alert_event is
    'The active event of a service and type: a new one, or the one that somebody made by hand.';


create or replace function public.close_alert_event(
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
        resolved_at = close_alert_event.resolved_at,
        details = public.details_with(event.details, close_alert_event.details)
    where event.id = close_alert_event.id
        -- Not by the index on status, under which thousands may be active.
        and event.status is not distinct from 'active';
end
$function$;

comment on function public.close_alert_event is 'Resolves an active event, and says how.';


create or replace function public.opening_details(
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
    select public.check_summary(failed) into first_failed
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
        'reason', public.alert_reason(newest.probe_details),
        'location', left(newest.probe_details ->> 'location', 100),
        'streak', track -> 'failing_streak',
        'first_failed', coalesce(first_failed, public.check_summary(newest)),
        'last_failed', coalesce(state.last_failed, public.check_summary(newest)),
        'policy', jsonb_build_object(
            'checks', policy -> (level || '_open_checks'),
            'of', policy -> (level || '_open_of'),
            'seconds', policy -> (level || '_open_seconds')
        )
    );
end
$function$;

comment on function public.opening_details is
    'What an event says when it opens: since when, why, where, and by which rule.';


create or replace function public.open_alert(
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
    details := public.opening_details(
        state, verdict, since, newest,
        state.tracks -> public.location_of(newest.probe_details), policy
    );
    if is_new then
        state.first_failed := details -> 'first_failed';
    else
        details := details || jsonb_build_object('supersedes', previous_event_id);
    end if;
    state.event_id := public.open_alert_event(state.service_name, alert_type, details);
    if not is_new then
        -- What brought the other may have begun before this one did.
        perform public.close_alert_event(
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

comment on function public.open_alert is
    'The state after an alert opened, or took the place of another; the event and its messages '
    'are written.';


create or replace function public.moment_of(given jsonb) returns timestamptz
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

comment on function public.moment_of is
    'A moment out of the details of an event, which anybody may have written; null if it is none.';


create or replace function public.recover_service(
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
    select public.check_summary(healed) into first_healthy
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
        coalesce(started_at, state.since), public.moment_of(opened -> 'started_at')
    );
    -- Where one event took the place of another, one of the two was about being down.
    worst_status := case
        when state.status = 'down' or opened ? 'supersedes' then 'down'
        else state.status
    end;
    closing := jsonb_build_object(
        'last_failed', state.last_failed,
        'first_healthy', coalesce(first_healthy, public.check_summary(newest)),
        'downtime_seconds', greatest(0, extract(epoch from since - started_at))
    );
    perform public.close_alert_event(
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

comment on function public.recover_service is
    'The state after a recovery; the event that was active is resolved, the recovery is written.';


create or replace function public.end_flapping(
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

comment on function public.end_flapping is
    'The state after a check, by which the service may have kept still for long enough.';


create or replace function public.location_of(probe_details jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
begin
    return left(coalesce(probe_details ->> 'location', ''), 100);
end
$function$;

comment on function public.location_of is 'From where a check was made; empty where it says nothing.';


create or replace function public.tracks_with_room(tracks jsonb, location text) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    -- Nearly always, and answered without a query.
    if tracks ? location or tracks = '{}' then
        return tracks;
    end if;
    if (select count(*) < 100 from jsonb_object_keys(tracks)) then
        return tracks;
    end if;
    return tracks - (
        select one.location
        from jsonb_each(tracks) as one (location, track)
        order by (one.track ->> 'last_checked_at')::timestamptz, one.location
        limit 1
    );
end
$function$;

comment on function public.tracks_with_room is
    'The tracks with room for one of this location: of a hundred others the most silent one goes.';


create or replace function public.step_service(
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
    location constant text := public.location_of(newest.probe_details);
    seen constant text := case
        when newest.status = 'degraded' and not rules.watches_degraded then 'healthy'
        else newest.status
    end;
    track jsonb := state.tracks -> location;
    vote jsonb;
begin
    state := public.end_flapping(state, newest.checked_at, rules);
    -- A location that is heard for the first time, or again after a silence, goes on from what is
    -- decided: one check of it must not undo what others have seen.
    if state.tracks - location <> '{}' and (
        track is null
        or (track ->> 'last_checked_at')::timestamptz < newest.checked_at - rules.location_fresh
    ) then
        track := jsonb_build_object('verdict', state.status, 'verdict_since', state.since);
    end if;
    state.tracks := jsonb_set(
        public.tracks_with_room(state.tracks, location), array[location],
        public.step_alert_track(track, seen, newest.checked_at, rules)
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
        state.last_failed := public.check_summary(newest);
    end if;
    vote := public.vote_of_tracks(state.tracks, location, newest.checked_at, rules);
    if vote ->> 'verdict' = 'healthy' and state.status <> 'healthy' then
        state := public.recover_service(state, (vote ->> 'since')::timestamptz, newest);
    elsif vote ->> 'verdict' <> state.status then
        state := public.open_alert(
            state, vote ->> 'verdict', (vote ->> 'since')::timestamptz, newest, rules, policy
        );
    end if;
    return state;
end
$function$;

comment on function public.step_service is
    'The state after one more check; what comes of it is written.';


create or replace function public.is_steady_state(state public.service_states) returns boolean
language plpgsql
stable
set search_path = ''
as $function$
declare
    forgotten_after constant interval := interval '1 day';
begin
    if state.status <> 'healthy' or state.flapping_since is not null then
        return false;
    end if;
    return not exists (
        select
        from jsonb_each(state.tracks) as one (location, track)
        where (
                one.track ->> 'verdict' <> 'healthy'
                or one.track ->> 'failing_streak' <> '0'
                or one.track -> 'window' @> '[{"status": "down"}]'
                or one.track -> 'window' @> '[{"status": "degraded"}]'
            )
            -- What a location said that is gone for good is not remembered for ever.
            and (one.track ->> 'last_checked_at')::timestamptz
                >= state.last_checked_at - forgotten_after
    );
end
$function$;

comment on function public.is_steady_state is
    'Whether there is nothing to remember of a service but that it is well.';


create or replace function public.quiet_tracks(
    newest public.service_health_checks,
    new_ids jsonb,
    fresh interval
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_object_agg(
                heard.location,
                jsonb_build_object(
                    'verdict', 'healthy', 'last_checked_at', heard.last_checked_at,
                    'failing_streak', 0, 'window', '[]'::jsonb
                )
            ),
            '{}'
        )
        from (
            select
                public.location_of(recent.probe_details) as location,
                max(recent.checked_at) as last_checked_at
            from (
                select known.checked_at, known.probe_details
                from public.service_health_checks as known
                where known.service_name = newest.service_name
                    and known.checked_at between newest.checked_at - fresh and newest.checked_at
                    -- Of those that are new the late ones are not decided on, but were heard.
                    and (
                        known.checked_at < newest.checked_at
                        or not coalesce(new_ids ? known.id::text, false)
                    )
                -- So many at most, and by the index that has this order, whatever statistics say.
                order by known.checked_at desc, known.id desc
                limit 10000
            ) as recent
            group by 1
        ) as heard
    );
end
$function$;

comment on function public.quiet_tracks is
    'The locations that were heard of a steady service; nothing else of it is worth remembering.';


create or replace function public.state_after_quiet(
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

comment on function public.state_after_quiet is
    'The state of a steady service after all its checks but the ones that are new.';


create or replace function public.lock_service_state(service_name text)
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
        where known.service_name = lock_service_state.service_name
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

comment on function public.lock_service_state is
    'The state of a service, which is made where there is none, locked until our end.';


-- New checks are the keys of an object, {"<id>": true}: those are found at once, however many a
-- batch has of one service, and whatever plan a session keeps.
create or replace function public.evaluate_service(
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
    state := public.lock_service_state(service_name);
    if state.is_steady then
        state := public.state_after_quiet(state, new_ids);
    end if;
    after_at := state.last_checked_at;
    after_id := state.last_check_id;
    for newest in
        select known.*
        from public.service_health_checks as known
        where known.service_name = evaluate_service.service_name
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
            rules := public.alert_rules_of(policy);
            if state.is_steady then
                state.tracks := public.quiet_tracks(newest, new_ids, rules.location_fresh);
            end if;
        end if;
        state := public.step_service(state, newest, rules, policy);
        evaluated := evaluated + 1;
    end loop;
    if evaluated > 0 then
        perform public.keep_service_state(state);
    end if;
    return evaluated;
end
$function$;

comment on function public.evaluate_service is
    'Evaluates the stored checks of a service that nobody has evaluated yet; how many they were.';


create or replace function public.keep_service_state(state public.service_states) returns void
language plpgsql
volatile
set search_path = ''
as $function$
declare
    steady constant boolean := public.is_steady_state(state);
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

comment on function public.keep_service_state is 'Stores the state of a service.';


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
            evaluated := evaluated + public.evaluate_service(handed.service_name, handed.new_ids);
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
            evaluated := evaluated + public.evaluate_service(handed.service_name);
        end if;
    end loop;
    return jsonb_build_object('evaluated', evaluated);
end
$function$;

comment on function public.evaluate_health_checks is
    'Evaluates stored checks, given as rows with service_name and id, service by service; without '
    'any, those of services in trouble that nobody has evaluated yet. Says how many they were.';


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
        perform public.evaluate_service(handed.service_name, handed.new_ids);
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


create or replace function public.alert_policy_problem(policy jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
declare
    longest constant double precision := 30 * 86400;
    bound record;
begin
    if jsonb_typeof(policy) is distinct from 'object' then
        return 'a policy is an object';
    end if;
    for bound in
        select key.name
        from jsonb_object_keys(policy) as key (name)
        where not public.default_alert_policy() ? key.name
        order by key.name
    loop
        return format('a policy has no key %s', left(bound.name, 100));
    end loop;
    for bound in
        select switch.name
        from (values ('enabled'), ('degraded_enabled')) as switch (name)
        where jsonb_typeof(policy -> switch.name) not in ('boolean', 'null')
    loop
        return format('%s must be true or false', bound.name);
    end loop;
    for bound in
        select *
        from (values
            ('down_open_checks', 1, 100), ('down_open_of', 1, 100),
            ('down_open_seconds', 1e-6, longest), ('down_close_checks', 1, 100),
            ('degraded_open_checks', 1, 100), ('degraded_open_of', 1, 100),
            ('degraded_open_seconds', 1e-6, longest), ('degraded_close_checks', 1, 100),
            ('locations_agree', -1, 1000), ('location_fresh_seconds', 1e-6, longest),
            ('flapping_changes', 0, 100), ('flapping_within_seconds', 1e-6, longest)
        ) as bounds (name, lowest, highest)
        where policy ? bounds.name
            and jsonb_typeof(policy -> bounds.name) <> 'null'
            and public.number_within(policy -> bounds.name, bounds.lowest, bounds.highest, null)
                is null
    loop
        return format('%s must be a number from %s to %s', bound.name, bound.lowest, bound.highest);
    end loop;
    for bound in
        select level.name
        from (values ('down'), ('degraded')) as level (name)
        where public.number_within(policy -> (level.name || '_open_of'), 1, 100, 100)
            < public.number_within(policy -> (level.name || '_open_checks'), 1, 100, 1)
    loop
        return format('%s_open_of must not be less than %1$s_open_checks', bound.name);
    end loop;
    return null;
end
$function$;

comment on function public.alert_policy_problem is
    'What is wrong with a policy, in a sentence; null when nothing is.';


create or replace function public.publish_alert_policies(policies jsonb) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    problem text;
    gone bigint;
    changed bigint;
begin
    if jsonb_typeof(policies) = 'string' then
        policies := (policies #>> '{}')::jsonb;
    end if;
    select public.alert_policy_problem(given.one -> 'alert_policy') into problem
    from jsonb_array_elements(policies) as given (one)
    where public.alert_policy_problem(given.one -> 'alert_policy') is not null
    limit 1;
    if problem is not null then
        raise exception '%', problem using errcode = '22023';
    end if;
    delete from public.alert_policies as known
    where known.position not between 1 and jsonb_array_length(policies);
    get diagnostics gone = row_count;
    with given as materialized (
        select one.position, one.policy -> 'matcher' as matcher,
            one.policy -> 'alert_policy' as alert_policy
        from jsonb_array_elements(policies) with ordinality as one (policy, position)
    )
    insert into public.alert_policies as known (position, matcher, alert_policy)
    select given.position, nullif(given.matcher, 'null'), given.alert_policy
    from given
    order by given.position
    on conflict (position) do update
    set matcher = excluded.matcher,
        alert_policy = excluded.alert_policy
    where (known.matcher, known.alert_policy)
        is distinct from (excluded.matcher, excluded.alert_policy);
    get diagnostics changed = row_count;
    return to_jsonb(gone + changed);
end
$function$;

comment on function public.publish_alert_policies is
    'Replaces the policies by an array of {matcher, alert_policy}, in their order.';


create or replace function public.publish_monitored_services(services jsonb) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    problem record;
    changed bigint;
begin
    if jsonb_typeof(services) = 'string' then
        services := (services #>> '{}')::jsonb;
    end if;
    for problem in
        select given.one ->> 'service_name' as service_name,
            public.alert_policy_problem(given.one -> 'alert_policy') as sentence
        from jsonb_array_elements(services) as given (one)
        where jsonb_typeof(given.one -> 'alert_policy') <> 'null'
            and public.alert_policy_problem(given.one -> 'alert_policy') is not null
        limit 1
    loop
        raise exception '%: %', problem.service_name, problem.sentence using errcode = '22023';
    end loop;
    insert into public.monitored_services as known
        (service_name, labels, depends_on, interval_seconds, alert_policy)
    select
        given.service_name, coalesce(nullif(given.labels, 'null'), '{}'),
        coalesce(given.depends_on, '{}'), given.interval_seconds,
        nullif(given.alert_policy, 'null')
    from jsonb_to_recordset(services) as given (
        service_name text, labels jsonb, depends_on text[], interval_seconds double precision,
        alert_policy jsonb
    )
    order by given.service_name collate "C"
    on conflict (service_name) do update
    set labels = excluded.labels,
        depends_on = excluded.depends_on,
        interval_seconds = excluded.interval_seconds,
        alert_policy = excluded.alert_policy,
        updated_at = current_timestamp
    where (known.labels, known.depends_on, known.interval_seconds, known.alert_policy)
        is distinct from (
            excluded.labels, excluded.depends_on, excluded.interval_seconds, excluded.alert_policy
        );
    get diagnostics changed = row_count;
    return to_jsonb(changed);
end
$function$;

comment on function public.publish_monitored_services is
    'Stores what a configuration says of services; says how many were new or differ.';


create or replace function public.find_monitored_services(
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
            select known.*
            from public.monitored_services as known
            where (find_monitored_services.service_name is null
                    or known.service_name = find_monitored_services.service_name)
                and (after_service_name is null or known.service_name > after_service_name)
            order by known.service_name
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_monitored_services is
    'What configurations say of services, by name; the next page comes after the last row''s name.';


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
                'default_alert_policy', 'alert_policy_of', 'number_within', 'alert_rules_of',
                'kept_window_length', 'begins_opening', 'count_into_track', 'step_alert_track',
                'vote_of_tracks', 'alert_reason', 'check_summary', 'details_with',
                'open_alert_event', 'close_alert_event', 'opening_details', 'open_alert',
                'moment_of', 'recover_service', 'end_flapping', 'location_of', 'tracks_with_room',
                'step_service', 'is_steady_state', 'quiet_tracks', 'state_after_quiet',
                'lock_service_state', 'evaluate_service',
                'keep_service_state', 'evaluate_health_checks', 'evaluate_new_checks',
                'create_alert_event',
                'alert_policy_problem', 'publish_alert_policies', 'publish_monitored_services',
                'find_monitored_services', 'find_service_states'
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
