-- Routes: whom to tell. The channels and their rules as configurations publish them, and which of
-- them an alert concerns. Addresses and secrets stay with whoever delivers.
--
-- Here and in the files that follow, functions whose names begin with pulsebase_ are for the others
-- alone; the rest are the verbs that the models call.

create or replace function public.pulsebase_bounded_interval(seconds double precision)
returns interval
language plpgsql
immutable
strict
set search_path = ''
as $function$
begin
    return make_interval(secs => least(greatest(seconds, 0), 3153600000));
end
$function$;

comment on function public.pulsebase_bounded_interval is
    'So many seconds, at most a hundred years: what somebody wrote by hand must not stop alerting.';


create or replace function public.pulsebase_like_pattern_of(pattern text) returns text
language plpgsql
immutable
set search_path = ''
as $function$
begin
    return replace(
        replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'
    );
end
$function$;

comment on function public.pulsebase_like_pattern_of is
    'The LIKE pattern in which only * stands for any run of characters.';


create or replace function public.pulsebase_matches_service(
    matcher jsonb,
    service_name text,
    labels jsonb
) returns boolean
language plpgsql
immutable
set search_path = ''
as $function$
declare
    names constant jsonb := case jsonb_typeof(matcher -> 'services')
        when 'array' then matcher -> 'services'
        when 'null' then null
        else '[]'::jsonb || (matcher -> 'services')
    end;
    wanted_labels constant jsonb := case jsonb_typeof(matcher -> 'labels')
        when 'object' then matcher -> 'labels'
    end;
begin
    if names is not null and not exists (
        select
        from jsonb_array_elements_text(names) as wanted (pattern)
        where service_name like public.pulsebase_like_pattern_of(wanted.pattern)
    ) then
        return false;
    end if;
    return wanted_labels is null or not exists (
        select
        from jsonb_each_text(wanted_labels) as wanted (label, pattern)
        where (labels ->> wanted.label like public.pulsebase_like_pattern_of(wanted.pattern)) is not true
    );
end
$function$;

comment on function public.pulsebase_matches_service is
    'Whether one of the names and every label of a matcher fit; no matcher fits every service.';


create or replace function public.pulsebase_hours_include(hours jsonb, moment timestamptz)
returns boolean
language plpgsql
stable
set search_path = ''
as $function$
declare
    there timestamp;
    begins time;
    ends time;
    days jsonb;
    today integer;
begin
    if hours is null then
        return true;
    end if;
    there := moment at time zone coalesce(hours ->> 'zone', 'UTC');
    begins := coalesce(hours ->> 'from', '00:00')::time;
    ends := coalesce(hours ->> 'until', '24:00')::time;
    days := coalesce(nullif(hours -> 'days', 'null'), '[1, 2, 3, 4, 5, 6, 7]');
    today := extract(isodow from there);
    if begins < ends then
        return days @> to_jsonb(today) and there::time >= begins and there::time < ends;
    end if;
    -- Over midnight; what comes after it belongs to the day before.
    return (there::time >= begins and days @> to_jsonb(today))
        or (there::time < ends and days @> to_jsonb((today + 5) % 7 + 1));
exception
    -- Somebody wrote hours by hand that are none. Better told at a wrong time than not at all.
    when data_exception then
        return true;
end
$function$;

comment on function public.pulsebase_hours_include is
    'Whether a moment lies within hours of the day, on their days, by the clock of their zone.';


create or replace function public.pulsebase_find_routed_channels(
    service_name text,
    alert_type text,
    moment timestamptz
) returns table (routed_channel text, delay_seconds double precision)
language plpgsql
stable
rows 4
set search_path = ''
as $function$
declare
    labels constant jsonb := (
        select known.labels
        from public.monitored_services as known
        where known.service_name = pulsebase_find_routed_channels.service_name
    );
begin
    return query
    with fitting as materialized (
        select route.channels, route.after_seconds
        from public.alert_routes as route
        where (route.alert_types is null or alert_type = any (route.alert_types))
            and public.pulsebase_matches_service(route.matcher, service_name, labels)
            and public.pulsebase_hours_include(route.hours, moment)
    )
    select channel.name, coalesce(nearest.after_seconds, 0)
    from public.alert_channels as channel
    cross join lateral (
        select min(fitting.after_seconds) as after_seconds
        from fitting
        where channel.name = any (fitting.channels)
    ) as nearest
    where channel.is_published
        and (
            nearest.after_seconds is not null
            or not exists (
                select
                from public.alert_routes as route
                where channel.name = any (route.channels)
            )
        );
end
$function$;

comment on function public.pulsebase_find_routed_channels is
    'The channels that are to be told of an alert, each with its delay; one that no route names '
    'is told everything.';


create or replace function public.pulsebase_assert_route_hours(hours jsonb) returns void
language plpgsql
stable
set search_path = ''
as $function$
begin
    perform (hours ->> 'from')::time;
    perform (hours ->> 'until')::time;
    perform statement_timestamp() at time zone (hours ->> 'zone');
    if not coalesce(nullif(hours -> 'days', 'null'), '[]') <@ '[1, 2, 3, 4, 5, 6, 7]' then
        raise exception 'days are numbers from 1 (Monday) to 7' using errcode = '22023';
    end if;
exception
    when data_exception then
        raise exception 'a route has hours that are none: %: %', hours, sqlerrm
            using errcode = '22023';
end
$function$;

comment on function public.pulsebase_assert_route_hours is
    'Raises 22023 where a route has no proper hours.';


create or replace function public.pulsebase_replace_alert_routes(routes jsonb) returns boolean
language plpgsql
volatile
set search_path = ''
as $function$
declare
    replaced bigint;
    removed bigint;
begin
    perform public.pulsebase_assert_route_hours(given.route -> 'hours')
    from jsonb_array_elements(routes) as given (route)
    where jsonb_typeof(given.route -> 'hours') <> 'null';

    insert into public.alert_routes as known
        (position, channels, matcher, alert_types, hours, after_seconds)
    select
        given.position - 1,
        array(select jsonb_array_elements_text(given.route -> 'channels')),
        nullif(given.route -> 'matcher', 'null'),
        case when jsonb_typeof(given.route -> 'alert_types') = 'array'
            then array(select jsonb_array_elements_text(given.route -> 'alert_types'))
        end,
        nullif(given.route -> 'hours', 'null'),
        coalesce((given.route ->> 'after_seconds')::double precision, 0)
    from jsonb_array_elements(routes) with ordinality as given (route, position)
    on conflict (position) do update
    set channels = excluded.channels,
        matcher = excluded.matcher,
        alert_types = excluded.alert_types,
        hours = excluded.hours,
        after_seconds = excluded.after_seconds
    where known is distinct from excluded;
    get diagnostics replaced = row_count;
    delete from public.alert_routes as known
    where known.position >= jsonb_array_length(routes);
    get diagnostics removed = row_count;
    return replaced + removed > 0;
end
$function$;

comment on function public.pulsebase_replace_alert_routes is
    'Makes these the routes; says whether they were others before.';


create or replace function public.publish_alert_channels(channels json, routes json) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    changed bigint;
    unpublished bigint;
    is_rerouted boolean;
begin
    if json_typeof(channels) = 'string' then
        channels := (channels #>> '{}')::json;
    end if;
    if json_typeof(routes) = 'string' then
        routes := (routes #>> '{}')::json;
    end if;
    if json_typeof(channels) is distinct from 'array'
        or json_typeof(routes) is distinct from 'array' then
        raise exception 'channels and routes must be JSON arrays' using errcode = '22023';
    end if;
    -- One publisher at a time: two that replace the routes side by side would collide.
    perform pg_advisory_xact_lock(1886155361, hashtext('publish_alert_channels'));
    insert into public.alert_channels as known
        (name, group_window_seconds, rate_limit, rate_period_seconds, remind_every_seconds,
            give_up_after_seconds)
    select
        given.name, coalesce(given.group_window_seconds, 10), given.rate_limit,
        given.rate_period_seconds, given.remind_every_seconds,
        coalesce(given.give_up_after_seconds, 86400)
    from json_to_recordset(channels) as given (
        name text, group_window_seconds double precision, rate_limit integer,
        rate_period_seconds double precision, remind_every_seconds double precision,
        give_up_after_seconds double precision
    )
    order by given.name
    on conflict (name) do update
    set is_published = true,
        group_window_seconds = excluded.group_window_seconds,
        rate_limit = excluded.rate_limit,
        rate_period_seconds = excluded.rate_period_seconds,
        remind_every_seconds = excluded.remind_every_seconds,
        give_up_after_seconds = excluded.give_up_after_seconds,
        updated_at = current_timestamp
    where (
            known.is_published, known.group_window_seconds, known.rate_limit,
            known.rate_period_seconds, known.remind_every_seconds, known.give_up_after_seconds
        ) is distinct from (
            true, excluded.group_window_seconds, excluded.rate_limit,
            excluded.rate_period_seconds, excluded.remind_every_seconds,
            excluded.give_up_after_seconds
        );
    get diagnostics changed = row_count;
    update public.alert_channels as known
    set is_published = false,
        updated_at = current_timestamp
    where known.is_published
        and known.name not in (
            select given.name
            from json_to_recordset(channels) as given (name text)
            where given.name is not null
        );
    get diagnostics unpublished = row_count;
    is_rerouted := public.pulsebase_replace_alert_routes(routes::jsonb);
    return jsonb_build_object(
        'changed', changed, 'unpublished', unpublished, 'is_rerouted', is_rerouted
    );
end
$function$;

comment on function public.publish_alert_channels is
    'Makes these the channels and routes; a channel that is missing is told nothing new, and one '
    'that is disabled stays so.';


create or replace function public.find_alert_channels() returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(
                to_jsonb(channel) || jsonb_build_object(
                    'waiting_count', (
                        select count(*)
                        from public.alert_deliveries as waiting
                        where waiting.channel = channel.name
                            and waiting.message_id is null
                            and waiting.cancelled_at is null
                    ),
                    'unfinished_count', (
                        select count(*)
                        from public.alert_messages as unfinished
                        where unfinished.channel = channel.name
                            and unfinished.status in ('pending', 'sending')
                    )
                )
                order by channel.name
            ),
            '[]'
        )
        from public.alert_channels as channel
    );
end
$function$;

comment on function public.find_alert_channels is
    'All channels by name, with how much each is owed and how many of its messages are unfinished.';


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
                'pulsebase_bounded_interval',
                'pulsebase_like_pattern_of',
                'pulsebase_matches_service',
                'pulsebase_hours_include',
                'pulsebase_find_routed_channels',
                'pulsebase_assert_route_hours',
                'pulsebase_replace_alert_routes',
                'publish_alert_channels',
                'find_alert_channels'
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
