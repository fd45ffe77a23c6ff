-- The outbox: what channels are owed after a change, written in the transaction of the change.
--
-- A delivery is what is owed to one channel about one event. An opening counts as told once it is in
-- a message, whatever became of that, or when it waits and nothing but its turn is missing. What was
-- told is resolved; what was not is dropped.
--
-- Locks, in this order: service_states (of several services by name), alert_events,
-- alert_deliveries, alert_messages, alert_channels.

create or replace function public.pulsebase_find_alert_openings(
    incident_id uuid,
    moment timestamptz
) returns table (
    delivery_id uuid, opened_event_id uuid, told_channel text, opening_kind text,
    queued_at timestamptz, is_told boolean
)
language plpgsql
stable
rows 4
set search_path = ''
as $function$
declare
    -- `num_nulls`, here and below, since the planner must not take the index of all that waits for
    -- the few of an incident: in a storm it is full of what has just been sent.
    waiting constant uuid[] := array(
        select delivery.id
        from public.alert_deliveries as delivery
        where delivery.incident_id = pulsebase_find_alert_openings.incident_id
            and num_nulls(delivery.message_id, delivery.cancelled_at) = 2
            and delivery.due_at <= moment
    );
begin
    return query
    select
        delivery.id, delivery.event_id, delivery.channel, delivery.kind, delivery.created_at,
        delivery.message_id is not null
            -- It is an end as well, and goes to whoever was told of the beginning.
            or delivery.kind = 'flapping_ended'
            or (
                delivery.id = any (waiting)
                and held.hold_reason is null
                -- What was held until now, and is over before it is looked at again, bothers nobody.
                and (delivery.held_by is null or delivery.released_at is not null)
                and coalesce(channel.is_published, false)
            )
            -- Whatever began to hold it since then.
            or exists (
                select
                from public.alert_deliveries as ended
                where ended.incident_id = delivery.incident_id
                    and ended.channel = delivery.channel
                    and ended.cancelled_at is null
                    and ended.created_at > delivery.created_at
                    and (
                        (ended.kind = 'resolved' and ended.event_id = delivery.event_id)
                        or (ended.kind = 'flapping_ended' and delivery.kind = 'flapping_started')
                    )
            )
    from public.alert_deliveries as delivery
    left join public.alert_channels as channel on channel.name = delivery.channel
    left join public.pulsebase_find_hold_reasons(waiting, moment) as held on held.delivery_id = delivery.id
    where delivery.incident_id = pulsebase_find_alert_openings.incident_id
        and delivery.kind in ('opened', 'flapping_started', 'flapping_ended')
        and delivery.cancelled_at is null;
end
$function$;

comment on function public.pulsebase_find_alert_openings is
    'The openings of an incident on every channel, and whether each is told.';


create or replace function public.pulsebase_drop_untold_deliveries(
    incident_id uuid,
    because text,
    moment timestamptz
) returns table (told_channel text, told_event_id uuid)
language plpgsql
volatile
rows 4
set search_path = ''
as $function$
begin
    -- One statement, and so one look: by the next one a parent could have recovered, and an opening
    -- would be neither dropped nor resolved.
    return query
    with openings as materialized (
        select opening.*
        from public.pulsebase_find_alert_openings(pulsebase_drop_untold_deliveries.incident_id, moment) as opening
    ),
    dropped as (
        update public.alert_deliveries as delivery
        set cancelled_at = moment,
            cancelled_because = because
        where delivery.incident_id = pulsebase_drop_untold_deliveries.incident_id
            and num_nulls(delivery.message_id, delivery.cancelled_at) = 2
            and (
                delivery.kind = 'reminder'
                or delivery.id in (
                    select opening.delivery_id
                    from openings as opening
                    where not opening.is_told
                )
            )
    )
    select latest.told_channel, latest.opened_event_id
    from (
        select distinct on (opening.told_channel) opening.told_channel, opening.opened_event_id
        from openings as opening
        where opening.is_told
        order by opening.told_channel, opening.queued_at desc
    ) as latest
    -- Counted, not `not exists`, which would be planned as a join with all that was ever resolved.
    where (
        select count(*)
        from public.alert_deliveries as resolving
        where resolving.event_id = latest.opened_event_id
            and resolving.channel = latest.told_channel
            and resolving.kind = 'resolved'
    ) = 0;
end
$function$;

comment on function public.pulsebase_drop_untold_deliveries is
    'Drops what nobody will be told of an incident any more; returns the channels that were told and '
    'do not know its end, with the event that they know.';


create or replace function public.pulsebase_queue_alert_openings(
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
        greatest(
            moment,
            public.pulsebase_bounded_interval(routed.delay_seconds) + coalesce(
                -- Changing between slow and down must not put off an escalation for ever.
                (
                    select min(earlier.created_at)
                    from public.alert_deliveries as earlier
                    where earlier.incident_id = pulsebase_queue_alert_openings.incident_id
                        and earlier.channel = routed.routed_channel
                        and earlier.is_escalation
                        and earlier.cancelled_at is not null
                        and earlier.due_at > moment
                ),
                moment
            )
        )
    from public.alert_events as event
    cross join public.pulsebase_find_routed_channels(service_name, event.alert_type, moment) as routed
    where event.id = pulsebase_queue_alert_openings.event_id
        and not routed.routed_channel = any (except_channels)
    on conflict do nothing;
end
$function$;

comment on function public.pulsebase_queue_alert_openings is
    'Writes down that the channels of an event are to be told that it opened.';


create or replace function public.pulsebase_queue_alert_ends(
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

comment on function public.pulsebase_queue_alert_ends is
    'Writes down that channels are to be told of an end, each of the event that it knows.';


create or replace function public.pulsebase_queue_flapping_end(
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
        and num_nulls(waiting.message_id, waiting.cancelled_at) = 2
    order by waiting.id
    for update;
    told_channels := array(
        select opening.told_channel
        from public.alert_deliveries as beginning
        cross join lateral public.pulsebase_find_alert_openings(beginning.incident_id, moment) as opening
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
        and num_nulls(beginning.message_id, beginning.cancelled_at) = 2
        and not beginning.channel = any (told_channels);
    perform public.pulsebase_queue_alert_ends(
        'flapping_ended', service_name, incident_id,
        array_fill(event_id, array[cardinality(told_channels)]), told_channels
    );
    if exists (
        select
        from public.alert_events as event
        where event.id = event_id
            and event.status = 'active'
    ) then
        perform public.pulsebase_queue_alert_openings(
            'opened', service_name, incident_id, event_id, moment, told_channels
        );
    end if;
end
$function$;

comment on function public.pulsebase_queue_flapping_end is
    'Writes down that channels are to be told that a service keeps still, and how it is now.';


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
        perform public.pulsebase_queue_alert_openings(change, service_name, incident_id, event_id, moment);
        return;
    end if;
    -- Locked until our end, so that no claim makes messages of what is decided about here; what has
    -- just become a message is seen by the statements that follow.
    perform
    from public.alert_deliveries as waiting
    where waiting.incident_id = queue_alert_messages.incident_id
        and num_nulls(waiting.message_id, waiting.cancelled_at) = 2
    order by waiting.id
    for update;
    if change = 'flapping_ended' then
        perform public.pulsebase_queue_flapping_end(
            service_name, incident_id, event_id, coalesce(previous_event_id, event_id), moment
        );
        return;
    end if;

    if change not in ('superseded', 'recovered', 'resolved_by_hand') then
        raise exception 'there is no change %', change using errcode = '22023';
    end if;
    select array_agg(told.told_channel), array_agg(told.told_event_id)
    into told_channels, told_events
    from public.pulsebase_drop_untold_deliveries(incident_id, replace(change, '_', ' '), moment) as told;
    if change = 'superseded' then
        perform public.pulsebase_queue_alert_openings('opened', service_name, incident_id, event_id, moment);
        -- Whoever is owed the event that took its place is told of the end of that one.
        select array_agg(told.channel), array_agg(told.event_id)
        into told_channels, told_events
        from unnest(told_channels, told_events) as told (channel, event_id)
        where not exists (
            select
            from public.alert_deliveries as owed
            where owed.event_id = queue_alert_messages.event_id
                and owed.channel = told.channel
        );
    end if;
    perform public.pulsebase_queue_alert_ends(
        'resolved', service_name, incident_id, told_events, told_channels
    );
end
$function$;

comment on function public.queue_alert_messages is
    'Writes down what channels are owed after a change; called in the transaction of the change.';


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
                'pulsebase_find_alert_openings',
                'pulsebase_drop_untold_deliveries',
                'pulsebase_queue_alert_openings',
                'pulsebase_queue_alert_ends',
                'pulsebase_queue_flapping_end',
                'queue_alert_messages'
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
