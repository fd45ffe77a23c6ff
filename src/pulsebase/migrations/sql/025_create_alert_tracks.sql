-- Tracks: what one location says of a service, by its streaks and a window of its newest checks;
-- and what the locations that are fresh agree on.

create or replace function public.pulsebase_kept_window_length(rules public.alert_rules)
returns integer
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

comment on function public.pulsebase_kept_window_length is
    'How many of the newest checks a track has to remember one by one.';


create or replace function public.pulsebase_begins_opening(
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

comment on function public.pulsebase_begins_opening is
    'Since when a track has failed, if it has failed often or long enough to open; else null.';


create or replace function public.pulsebase_count_into_track(
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

comment on function public.pulsebase_count_into_track is
    'A track after one more check: its streaks, each with its beginning, and its window.';


create or replace function public.pulsebase_step_alert_track(
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
    track := public.pulsebase_count_into_track(
        track, status, checked_at, public.pulsebase_kept_window_length(rules)
    );
    if rules.opens and verdict <> 'down' and status = 'down' then
        since := public.pulsebase_begins_opening(
            track, true, checked_at, rules.down_open_checks, rules.down_open_of,
            rules.down_open_seconds
        );
        if since is not null then
            return track || jsonb_build_object('verdict', 'down', 'verdict_since', since);
        end if;
    end if;
    if rules.opens and verdict = 'healthy' and status <> 'healthy' then
        since := public.pulsebase_begins_opening(
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

comment on function public.pulsebase_step_alert_track is
    'A track after one more check, with the verdict that its location comes to.';


create or replace function public.pulsebase_location_of(probe_details jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
begin
    return left(coalesce(probe_details ->> 'location', ''), 100);
end
$function$;

comment on function public.pulsebase_location_of is
    'From where a check was made; empty where it says nothing.';


create or replace function public.pulsebase_tracks_with_room(tracks jsonb, location text)
returns jsonb
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

comment on function public.pulsebase_tracks_with_room is
    'The tracks with room for one of this location: of a hundred others the most silent one goes.';


create or replace function public.pulsebase_quiet_tracks(
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
                public.pulsebase_location_of(recent.probe_details) as location,
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

comment on function public.pulsebase_quiet_tracks is
    'The locations that were heard of a steady service; nothing else of it is worth remembering.';


create or replace function public.pulsebase_vote_of_tracks(
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

comment on function public.pulsebase_vote_of_tracks is
    'What the locations that are fresh agree on, and since when; a silent one does not vote.';


create or replace function public.pulsebase_is_steady_state(state public.service_states)
returns boolean
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

comment on function public.pulsebase_is_steady_state is
    'Whether there is nothing to remember of a service but that it is well.';


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
                'pulsebase_kept_window_length',
                'pulsebase_begins_opening',
                'pulsebase_count_into_track',
                'pulsebase_step_alert_track',
                'pulsebase_location_of',
                'pulsebase_tracks_with_room',
                'pulsebase_quiet_tracks',
                'pulsebase_vote_of_tracks',
                'pulsebase_is_steady_state'
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
