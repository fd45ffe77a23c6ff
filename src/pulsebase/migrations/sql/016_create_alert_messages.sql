-- Messages: who is to be told of a change, when that may be, and who sends it.
--
-- A delivery is what is owed to one channel about one event; a message is what is sent: one delivery,
-- or a digest of many. Deliveries are written by `queue_alert_messages` in the transaction of the
-- change. `claim_alert_messages`, called by whoever sends, makes messages of them and hands these
-- out for a time; `finish_alert_message` takes the report.
--
-- An opening counts as told once it is in a message, whatever became of that, or when it waits and
-- nothing but its turn is missing. What was told is resolved; what was not is dropped.
--
-- Locks, in this order: service_states, alert_events, alert_deliveries, alert_messages,
-- alert_channels. A change waits for deliveries while it holds the first two, a report for its
-- message and then its channel. A claim waits for nothing: what makes messages for a channel is one
-- session at a time, by an advisory lock that is only tried, and rows that are locked are skipped. It
-- is not a lock on the channel's row, since that would be a write with every claim.

-- Whether reminders may follow a message that was sent; taken back when they cannot any more.
alter table public.alert_messages
    add column if not exists awaits_reminders boolean not null default false;

create index if not exists idx_alert_messages_awaits_reminders
    on public.alert_messages (channel, finished_at)
    where awaits_reminders;
create index if not exists idx_alert_messages_channel
    on public.alert_messages (channel, created_at, id);


create or replace function public.like_pattern_of(pattern text) returns text
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

comment on function public.like_pattern_of is
    'The LIKE pattern in which only * stands for any run of characters.';


create or replace function public.matches_service(
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
        where service_name like public.like_pattern_of(wanted.pattern)
    ) then
        return false;
    end if;
    return wanted_labels is null or not exists (
        select
        from jsonb_each_text(wanted_labels) as wanted (label, pattern)
        where (labels ->> wanted.label like public.like_pattern_of(wanted.pattern)) is not true
    );
end
$function$;

comment on function public.matches_service is
    'Whether one of the names and every label of a matcher fit; no matcher fits every service.';


create or replace function public.hours_include(hours jsonb, moment timestamptz) returns boolean
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

comment on function public.hours_include is
    'Whether a moment lies within hours of the day, on their days, by the clock of their zone.';


create or replace function public.find_routed_channels(
    service_name text,
    alert_type text,
    moment timestamptz
) returns table (routed_channel text, delay_seconds double precision)
language plpgsql
stable
set search_path = ''
as $function$
declare
    labels constant jsonb := (
        select known.labels
        from public.monitored_services as known
        where known.service_name = find_routed_channels.service_name
    );
begin
    return query
    with fitting as materialized (
        select route.channels, route.after_seconds
        from public.alert_routes as route
        where (route.alert_types is null or alert_type = any (route.alert_types))
            and public.matches_service(route.matcher, service_name, labels)
            and public.hours_include(route.hours, moment)
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

comment on function public.find_routed_channels is
    'The channels that are to be told of an alert, each with its delay; one without routes gets all.';


create or replace function public.find_hold_reasons(
    delivery_ids uuid[],
    moment timestamptz,
    as_kind text default null
) returns table (delivery_id uuid, hold_reason text)
language plpgsql
stable
set search_path = ''
as $function$
begin
    return query
    with recursive waiting as materialized (
        select
            delivery.id, delivery.service_name, delivery.event_id, delivery.is_escalation,
            coalesce(as_kind, delivery.kind) as kind
        from unnest(delivery_ids) as given (id)
        join public.alert_deliveries as delivery on delivery.id = given.id
        where coalesce(as_kind, delivery.kind) in ('opened', 'flapping_started', 'reminder')
    ),
    services as materialized (
        select named.name, known.labels, known.depends_on
        from (select distinct waiting.service_name::text as name from waiting) as named
        left join public.monitored_services as known on known.service_name = named.name
    ),
    holding as materialized (
        select silence.kind, silence.matcher
        from public.alert_silences as silence
        where silence.lifted_at is null
            and exists (
                select
                from public.alert_silence_periods as period
                where period.silence_id = silence.id
                    and period.starts_at <= moment
                    and (period.ends_at is null or period.ends_at > moment)
            )
    ),
    muted as materialized (
        select services.name, bool_or(holding.kind = 'maintenance') as is_maintenance
        from services
        join holding on public.matches_service(holding.matcher, services.name, services.labels)
        group by services.name
    ),
    lineage (name, ancestor) as (
        select services.name, parent.name
        from services
        cross join unnest(services.depends_on) as parent (name)
        union
        select lineage.name, parent.name
        from lineage
        join public.monitored_services as known on known.service_name = lineage.ancestor
        cross join unnest(known.depends_on) as parent (name)
    ),
    troubled as materialized (
        select named.ancestor
        from (select distinct lineage.ancestor from lineage) as named
        where public.is_service_in_trouble(named.ancestor)
    ),
    above (troubled, name) as (
        select troubled.ancestor, parent.name
        from troubled
        join public.monitored_services as known on known.service_name = troubled.ancestor
        cross join unnest(known.depends_on) as parent (name)
        union
        select above.troubled, parent.name
        from above
        join public.monitored_services as known on known.service_name = above.name
        cross join unnest(known.depends_on) as parent (name)
    ),
    orphaned as materialized (
        select distinct lineage.name
        from lineage
        join troubled on troubled.ancestor = lineage.ancestor
        where lineage.ancestor <> lineage.name
            -- Two that depend on each other would wait for each other until both are well.
            and not exists (
                select
                from above
                where above.troubled = lineage.ancestor
                    and above.name = lineage.name
            )
    )
    select
        waiting.id,
        case
            when muted.is_maintenance then 'maintenance'
            when muted.name is not null then 'silence'
            when waiting.kind <> 'reminder' and orphaned.name is not null then 'parent'
            when (waiting.kind = 'reminder' or waiting.is_escalation)
                and public.is_event_acknowledged(waiting.event_id, moment) then 'acknowledged'
        end
    from waiting
    left join muted on muted.name = waiting.service_name
    left join orphaned on orphaned.name = waiting.service_name;
end
$function$;

comment on function public.find_hold_reasons is
    'Why each of these deliveries would have to wait now; without a reason, or a row, it may go.';


create or replace function public.is_service_in_trouble(service_name text) returns boolean
language plpgsql
stable
set search_path = ''
as $function$
declare
    state public.service_states;
begin
    select known.* into state
    from public.service_states as known
    where known.service_name = is_service_in_trouble.service_name;
    if not found or (state.status = 'healthy' and state.is_steady) then
        return false;
    end if;
    return state.status <> 'healthy' or exists (
        -- The newest of each location, as far as the newest few go.
        select
        from (
            select distinct on (newest.probe_details ->> 'location') newest.status
            from (
                select found_check.*
                from public.service_health_checks as found_check
                where found_check.service_name = is_service_in_trouble.service_name
                order by found_check.checked_at desc, found_check.id desc
                limit 20
            ) as newest
            order by newest.probe_details ->> 'location', newest.checked_at desc, newest.id desc
        ) as latest
        where latest.status <> 'healthy'
    );
end
$function$;

comment on function public.is_service_in_trouble is
    'Whether a service is not well, or has begun to fail and nothing is decided yet.';


create or replace function public.is_event_acknowledged(
    event_id uuid,
    moment timestamptz
) returns boolean
language plpgsql
stable
set search_path = ''
as $function$
begin
    return coalesce(
        (
            select
                newest.act = 'acknowledge' and (newest.until is null or newest.until > moment)
            from public.alert_acts as newest
            where newest.event_id = is_event_acknowledged.event_id
                and newest.act in ('acknowledge', 'unacknowledge')
            order by newest.acted_at desc, newest.id desc
            limit 1
        ),
        false
    );
end
$function$;

comment on function public.is_event_acknowledged is
    'Whether somebody has acknowledged an alert event, and that still holds.';


create or replace function public.find_alert_openings(
    incident_id uuid,
    moment timestamptz
) returns table (
    delivery_id uuid, opened_event_id uuid, told_channel text, opening_kind text,
    queued_at timestamptz, is_told boolean
)
language plpgsql
stable
set search_path = ''
as $function$
declare
    waiting constant uuid[] := array(
        select delivery.id
        from public.alert_deliveries as delivery
        where delivery.incident_id = find_alert_openings.incident_id
            and delivery.message_id is null
            and delivery.cancelled_at is null
            and delivery.due_at <= moment
    );
begin
    return query
    select
        delivery.id, delivery.event_id, delivery.channel, delivery.kind, delivery.created_at,
        delivery.message_id is not null
            or (
                delivery.id = any (waiting)
                and held.hold_reason is null
                and coalesce(channel.is_published, false)
            )
    from public.alert_deliveries as delivery
    left join public.alert_channels as channel on channel.name = delivery.channel
    left join public.find_hold_reasons(waiting, moment) as held on held.delivery_id = delivery.id
    where delivery.incident_id = find_alert_openings.incident_id
        and delivery.kind in ('opened', 'flapping_started', 'flapping_ended')
        and delivery.cancelled_at is null;
end
$function$;

comment on function public.find_alert_openings is
    'The openings of an incident on every channel, and whether each is told.';


create or replace function public.find_told_channels(
    incident_id uuid,
    moment timestamptz
) returns table (told_channel text, told_event_id uuid)
language plpgsql
stable
set search_path = ''
as $function$
begin
    return query
    select latest.told_channel, latest.opened_event_id
    from (
        select distinct on (opening.told_channel) opening.told_channel, opening.opened_event_id
        from public.find_alert_openings(incident_id, moment) as opening
        where opening.is_told
        order by opening.told_channel, opening.queued_at desc
    ) as latest
    where not exists (
        select
        from public.alert_deliveries as resolving
        where resolving.event_id = latest.opened_event_id
            and resolving.channel = latest.told_channel
            and resolving.kind = 'resolved'
    );
end
$function$;

comment on function public.find_told_channels is
    'The channels that were told of an incident and not yet of its end, with the event they know.';


create or replace function public.cancel_untold_deliveries(
    incident_id uuid,
    because text,
    moment timestamptz
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
begin
    update public.alert_deliveries as delivery
    set cancelled_at = moment,
        cancelled_because = because
    where delivery.incident_id = cancel_untold_deliveries.incident_id
        and delivery.message_id is null
        and delivery.cancelled_at is null
        and (
            delivery.kind = 'reminder'
            or delivery.id in (
                select opening.delivery_id
                from public.find_alert_openings(
                    cancel_untold_deliveries.incident_id, moment
                ) as opening
                where not opening.is_told
            )
        );
end
$function$;

comment on function public.cancel_untold_deliveries is
    'Drops the reminders and openings of an incident that nobody will be told any more.';


create or replace function public.queue_alert_openings(
    kind text,
    service_name text,
    incident_id uuid,
    event_id uuid,
    moment timestamptz,
    except_channels text[] default '{}'
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
begin
    insert into public.alert_deliveries
        (service_name, incident_id, event_id, channel, kind, is_escalation, due_at)
    select
        service_name, incident_id, event_id, routed.routed_channel, kind,
        routed.delay_seconds > 0,
        least(
            moment + make_interval(secs => routed.delay_seconds),
            -- A service that changes between slow and down must not put off its escalation for ever.
            (
                select min(earlier.due_at)
                from public.alert_deliveries as earlier
                where earlier.incident_id = queue_alert_openings.incident_id
                    and earlier.channel = routed.routed_channel
                    and earlier.is_escalation
                    and earlier.cancelled_at is not null
                    and earlier.due_at > moment
            )
        )
    from public.alert_events as event
    cross join public.find_routed_channels(service_name, event.alert_type, moment) as routed
    where event.id = queue_alert_openings.event_id
        and not routed.routed_channel = any (except_channels)
    on conflict do nothing;
end
$function$;

comment on function public.queue_alert_openings is
    'Writes down that the channels of an event are to be told that it opened.';


create or replace function public.queue_alert_ends(
    kind text,
    service_name text,
    incident_id uuid,
    event_ids uuid[],
    channels text[]
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
begin
    insert into public.alert_deliveries (service_name, incident_id, event_id, channel, kind)
    select service_name, incident_id, told.event_id, told.channel, kind
    from unnest(event_ids, channels) as told (event_id, channel)
    on conflict do nothing;
end
$function$;

comment on function public.queue_alert_ends is
    'Writes down that channels are to be told of an end, each of the event that it knows.';


create or replace function public.queue_alert_messages(
    change text,
    service_name text,
    incident_id uuid,
    event_id uuid,
    previous_event_id uuid default null
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    told_channels text[];
    told_events uuid[];
begin
    if change in ('opened', 'flapping_started') then
        perform public.queue_alert_openings(change, service_name, incident_id, event_id, moment);
        return;
    end if;
    -- Locked until our end, so that no claim makes messages of what is decided about here; what has
    -- just become a message is seen by the statements that follow.
    perform
    from public.alert_deliveries as waiting
    where waiting.incident_id = queue_alert_messages.incident_id
        and waiting.message_id is null
        and waiting.cancelled_at is null
    order by waiting.id
    for update;
    if change = 'flapping_ended' then
        perform public.queue_flapping_end(
            service_name, incident_id, event_id, coalesce(previous_event_id, event_id), moment
        );
        return;
    end if;

    perform public.cancel_untold_deliveries(incident_id, replace(change, '_', ' '), moment);
    if change = 'superseded' then
        perform public.queue_alert_openings('opened', service_name, incident_id, event_id, moment);
    elsif change not in ('recovered', 'resolved_by_hand') then
        raise exception 'there is no change %', change using errcode = '22023';
    end if;
    select array_agg(told.told_channel), array_agg(told.told_event_id)
    into told_channels, told_events
    from public.find_told_channels(incident_id, moment) as told
    -- Whoever is owed the event that took its place is told of the end of that one.
    where change <> 'superseded'
        or not exists (
            select
            from public.alert_deliveries as owed
            where owed.event_id = queue_alert_messages.event_id
                and owed.channel = told.told_channel
        );
    perform public.queue_alert_ends(
        'resolved', service_name, incident_id, told_events, told_channels
    );
end
$function$;

comment on function public.queue_alert_messages is
    'Writes down what channels are owed after a change; called in the transaction of the change.';


create or replace function public.queue_flapping_end(
    service_name text,
    incident_id uuid,
    event_id uuid,
    flapping_event_id uuid,
    moment timestamptz
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    told_channels text[];
begin
    perform
    from public.alert_deliveries as waiting
    where waiting.event_id = flapping_event_id
        and waiting.message_id is null
        and waiting.cancelled_at is null
    order by waiting.id
    for update;
    told_channels := array(
        select opening.told_channel
        from public.alert_deliveries as beginning
        cross join lateral public.find_alert_openings(beginning.incident_id, moment) as opening
        where beginning.event_id = flapping_event_id
            and beginning.kind = 'flapping_started'
            and opening.delivery_id = beginning.id
            and opening.is_told
    );
    update public.alert_deliveries as beginning
    set cancelled_at = moment,
        cancelled_because = 'flapping ended'
    where beginning.event_id = flapping_event_id
        and beginning.kind = 'flapping_started'
        and beginning.message_id is null
        and beginning.cancelled_at is null
        and not beginning.channel = any (told_channels);
    perform public.queue_alert_ends(
        'flapping_ended', service_name, incident_id,
        array_fill(event_id, array[cardinality(told_channels)]), told_channels
    );
    if exists (
        select
        from public.alert_events as event
        where event.id = event_id
            and event.status = 'active'
    ) then
        perform public.queue_alert_openings(
            'opened', service_name, incident_id, event_id, moment, told_channels
        );
    end if;
end
$function$;

comment on function public.queue_flapping_end is
    'Writes down that channels are to be told that a service keeps still, and how it is now.';


do $$
declare
    verb regprocedure;
    outsider text;
begin
    foreach verb in array array[
        'public.like_pattern_of(text)',
        'public.matches_service(jsonb, text, jsonb)',
        'public.hours_include(jsonb, timestamptz)',
        'public.find_routed_channels(text, text, timestamptz)',
        'public.find_hold_reasons(uuid[], timestamptz, text)',
        'public.is_service_in_trouble(text)',
        'public.is_event_acknowledged(uuid, timestamptz)',
        'public.find_alert_openings(uuid, timestamptz)',
        'public.find_told_channels(uuid, timestamptz)',
        'public.cancel_untold_deliveries(uuid, text, timestamptz)',
        'public.queue_alert_openings(text, text, uuid, uuid, timestamptz, text[])',
        'public.queue_alert_ends(text, text, uuid, uuid[], text[])',
        'public.queue_alert_messages(text, text, uuid, uuid, uuid)',
        'public.queue_flapping_end(text, uuid, uuid, uuid, timestamptz)'
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
