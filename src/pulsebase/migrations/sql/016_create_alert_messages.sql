-- Messages: who is to be told of a change, when that may be, and who sends it.
--
-- A delivery is what is owed to one channel about one event; a message is what is sent: one
-- delivery, or a digest of many. Deliveries are written by `queue_alert_messages`, in the transaction
-- of the change. `claim_alert_messages`, called by whoever sends, makes messages of them and hands
-- these out for a time; `finish_alert_message` takes the report.
--
-- An opening counts as told once it is in a message, whatever became of that, or when it waits and
-- nothing but its turn is missing. What was told is resolved; what was not is dropped.
--
-- Locks, in this order: service_states, alert_events, alert_deliveries, alert_messages,
-- alert_channels. A change waits for deliveries while it holds the first two, a report for its
-- message and then its channel. A claim waits for nothing: what makes messages for a channel is one
-- session at a time, by an advisory lock that is only tried, and rows that are locked are skipped.
-- That is not a lock on the channel's row, since that would be a write with every claim.

-- Whether reminders may follow a message that was sent; taken back when they cannot any more.
alter table public.alert_messages
    add column if not exists awaits_reminders boolean not null default false;

create index if not exists idx_alert_messages_awaits_reminders
    on public.alert_messages (channel, finished_at)
    where awaits_reminders;
create index if not exists idx_alert_messages_channel
    on public.alert_messages (channel, created_at, id);


create or replace function public.bounded_interval(seconds double precision) returns interval
language plpgsql
immutable
strict
set search_path = ''
as $function$
begin
    return make_interval(secs => least(greatest(seconds, 0), 3153600000));
end
$function$;

comment on function public.bounded_interval is
    'So many seconds, at most a hundred years: what somebody wrote by hand must not stop alerting.';


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
rows 4
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
    'The channels that are to be told of an alert, each with its delay; one that no route names '
    'is told everything.';


create or replace function public.find_muted_services(
    service_names text[],
    moment timestamptz
) returns table (muted_service text, is_maintenance boolean)
language plpgsql
stable
set search_path = ''
set jit = off
as $function$
begin
    -- What matches_service says of one service, for thousands of services and hundreds of silences.
    return query
    with holding as materialized (
        select
            silence.id, silence.kind = 'maintenance' as is_maintenance,
            case jsonb_typeof(silence.matcher -> 'services')
                when 'array' then silence.matcher -> 'services'
                when 'null' then null
                else '[]'::jsonb || (silence.matcher -> 'services')
            end as names,
            case jsonb_typeof(silence.matcher -> 'labels')
                when 'object' then silence.matcher -> 'labels'
                else '{}'
            end as labels
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
    services as materialized (
        select named.name, coalesce(known.labels, '{}') as labels
        from unnest(service_names) as named (name)
        left join public.monitored_services as known on known.service_name = named.name
        where exists (select from holding)
    ),
    wanted_labels as materialized (
        select
            alike.labels as wanted_by, wanted.label, wanted.pattern,
            strpos(wanted.pattern, '*') > 0 as is_wild,
            public.like_pattern_of(wanted.pattern) as like_pattern,
            count(*) over (partition by alike.labels) as label_count
        from (select distinct holding.labels from holding) as alike
        cross join jsonb_each_text(alike.labels) as wanted (label, pattern)
    ),
    known_labels as materialized (
        select distinct_labels.labels, known.label, known.value
        from (select distinct services.labels from services) as distinct_labels
        cross join jsonb_each_text(distinct_labels.labels) as known (label, value)
    ),
    labelled as materialized (
        select one.wanted_by, one.labels
        from (
            select wanted_labels.wanted_by, wanted_labels.label_count, known_labels.labels
            from wanted_labels
            join known_labels on known_labels.label = wanted_labels.label
                and known_labels.value = wanted_labels.pattern
            where not wanted_labels.is_wild
            union all
            select wanted_labels.wanted_by, wanted_labels.label_count, known_labels.labels
            from wanted_labels
            join known_labels on known_labels.label = wanted_labels.label
                and known_labels.value like wanted_labels.like_pattern
            where wanted_labels.is_wild
        ) as one
        group by one.wanted_by, one.labels, one.label_count
        having count(*) = one.label_count
    ),
    wanted_names as materialized (
        select
            holding.id, wanted.pattern, strpos(wanted.pattern, '*') > 0 as is_wild,
            public.like_pattern_of(wanted.pattern) as like_pattern
        from holding
        cross join jsonb_array_elements_text(holding.names) as wanted (pattern)
    ),
    named as materialized (
        select wanted_names.id, services.name, services.labels
        from wanted_names
        join services on services.name = wanted_names.pattern
        where not wanted_names.is_wild
        union all
        select wanted_names.id, services.name, services.labels
        from wanted_names
        join services on services.name like wanted_names.like_pattern
        where wanted_names.is_wild
    ),
    muting as (
        select named.name, holding.is_maintenance
        from named
        join holding on holding.id = named.id
        where holding.labels = '{}'
        union all
        select named.name, holding.is_maintenance
        from named
        join holding on holding.id = named.id
        join labelled on labelled.wanted_by = holding.labels and labelled.labels = named.labels
        union all
        select services.name, every_name.is_maintenance
        from (
            select labelled.labels, bool_or(holding.is_maintenance) as is_maintenance
            from labelled
            join holding on holding.labels = labelled.wanted_by
            where holding.names is null
            group by labelled.labels
        ) as every_name
        join services on services.labels = every_name.labels
        union all
        select services.name, everything.is_maintenance
        from (
            select bool_or(holding.is_maintenance) as is_maintenance
            from holding
            where holding.names is null
                and holding.labels = '{}'
        ) as everything
        cross join services
        where everything.is_maintenance is not null
    )
    select muting.name, bool_or(muting.is_maintenance)
    from muting
    group by muting.name;
end
$function$;

comment on function public.find_muted_services is
    'Which of these services a silence holds, or a maintenance window.';


create or replace function public.find_hold_reasons(
    delivery_ids uuid[],
    moment timestamptz,
    as_kind text default null
) returns table (delivery_id uuid, hold_reason text)
language plpgsql
stable
set search_path = ''
-- The planner fears recursion, and would compile for longer than it takes to answer.
set jit = off
as $function$
begin
    if cardinality(delivery_ids) = 0 then
        return;
    end if;
    -- Mostly there is nothing that could hold any of them, which is much sooner told than what does.
    if coalesce(as_kind, '') <> 'reminder'
        and not exists (select from public.alert_silences as silence where silence.lifted_at is null)
        and not exists (
            select
            from unnest(delivery_ids) as given (id)
            join public.alert_deliveries as delivery on delivery.id = given.id
            where delivery.is_escalation
                or delivery.kind = 'reminder'
                or exists (
                    select
                    from public.monitored_services as known
                    where known.service_name = delivery.service_name
                        and known.depends_on <> '{}'
                )
        )
    then
        return query
        select given.id, null::text
        from unnest(delivery_ids) as given (id);
        return;
    end if;
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
    muted as materialized (
        select found.muted_service as name, found.is_maintenance
        from public.find_muted_services(
            array(select services.name from services), moment
        ) as found
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
    -- Materialized, or each ancestor is looked at once for each of its descendants.
    ancestors as materialized (
        select distinct lineage.ancestor
        from lineage
    ),
    troubled as materialized (
        select ancestors.ancestor
        from ancestors
        where public.is_service_in_trouble(ancestors.ancestor)
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
#variable_conflict use_variable
declare
    state public.service_states;
    policy jsonb;
begin
    select known.* into state
    from public.service_states as known
    where known.service_name = is_service_in_trouble.service_name;
    if state.status <> 'healthy' then
        return true;
    elsif not exists (
        select
        from jsonb_each(state.tracks) as one (location, track)
        where one.track ->> 'failing_streak' <> '0'
    ) then
        return false;
    end if;
    -- What nobody will decide on would hold back its children for ever: a location that is gone, or
    -- that the others have outvoted, and a service that opens nothing.
    policy := public.alert_policy_of(service_name);
    return policy -> 'enabled' is distinct from 'false' and exists (
        select
        from jsonb_each(state.tracks) as one (location, track)
        where one.track ->> 'failing_streak' <> '0'
            and coalesce(one.track ->> 'verdict', 'healthy') = 'healthy'
            and (one.track ->> 'last_checked_at')::timestamptz
                >= state.last_checked_at - make_interval(secs => public.number_within(
                    policy -> 'location_fresh_seconds', 1e-6, 2592000, 300
                ))
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
rows 4
set search_path = ''
as $function$
declare
    -- `num_nulls`, here and below, since the planner must not take the index of all that waits for
    -- the few of an incident: in a storm it is full of what has just been sent.
    waiting constant uuid[] := array(
        select delivery.id
        from public.alert_deliveries as delivery
        where delivery.incident_id = find_alert_openings.incident_id
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
    left join public.find_hold_reasons(waiting, moment) as held on held.delivery_id = delivery.id
    where delivery.incident_id = find_alert_openings.incident_id
        and delivery.kind in ('opened', 'flapping_started', 'flapping_ended')
        and delivery.cancelled_at is null;
end
$function$;

comment on function public.find_alert_openings is
    'The openings of an incident on every channel, and whether each is told.';


create or replace function public.drop_untold_deliveries(
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
        from public.find_alert_openings(drop_untold_deliveries.incident_id, moment) as opening
    ),
    dropped as (
        update public.alert_deliveries as delivery
        set cancelled_at = moment,
            cancelled_because = because
        where delivery.incident_id = drop_untold_deliveries.incident_id
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

comment on function public.drop_untold_deliveries is
    'Drops what nobody will be told of an incident any more; returns the channels that were told and '
    'do not know its end, with the event that they know.';


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
        greatest(
            moment,
            public.bounded_interval(routed.delay_seconds) + coalesce(
                -- Changing between slow and down must not put off an escalation for ever.
                (
                    select min(earlier.created_at)
                    from public.alert_deliveries as earlier
                    where earlier.incident_id = queue_alert_openings.incident_id
                        and earlier.channel = routed.routed_channel
                        and earlier.is_escalation
                        and earlier.cancelled_at is not null
                        and earlier.due_at > moment
                ),
                moment
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
        and num_nulls(waiting.message_id, waiting.cancelled_at) = 2
    order by waiting.id
    for update;
    if change = 'flapping_ended' then
        perform public.queue_flapping_end(
            service_name, incident_id, event_id, coalesce(previous_event_id, event_id), moment
        );
        return;
    end if;

    if change not in ('superseded', 'recovered', 'resolved_by_hand') then
        raise exception 'there is no change %', change using errcode = '22023';
    end if;
    select array_agg(told.told_channel), array_agg(told.told_event_id)
    into told_channels, told_events
    from public.drop_untold_deliveries(incident_id, replace(change, '_', ' '), moment) as told;
    if change = 'superseded' then
        perform public.queue_alert_openings('opened', service_name, incident_id, event_id, moment);
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
        and num_nulls(waiting.message_id, waiting.cancelled_at) = 2
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
        and num_nulls(beginning.message_id, beginning.cancelled_at) = 2
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


create or replace function public.find_due_deliveries(
    channel text,
    moment timestamptz
) returns table (
    delivery_id uuid, can_be_held boolean, is_marked_held boolean, ready_at timestamptz
)
language plpgsql
stable
set search_path = ''
as $function$
begin
    return query
    with due as materialized (
        select
            waiting.id, waiting.kind, waiting.service_name, waiting.created_at,
            waiting.held_by is not null and waiting.released_at is null as is_marked_held,
            greatest(waiting.due_at, waiting.released_at) as ready_at,
            event.status is not distinct from 'active' as is_active
        from public.alert_deliveries as waiting
        left join public.alert_events as event on event.id = waiting.event_id
        where waiting.channel = find_due_deliveries.channel
            and waiting.message_id is null
            and waiting.cancelled_at is null
            and waiting.due_at <= moment
    ),
    ended as materialized (
        select due.service_name, max(due.created_at) as ended_at
        from due
        where due.kind in ('resolved', 'flapping_ended')
        group by due.service_name
    )
    select
        due.id,
        case due.kind
            when 'reminder' then nullif(due.is_active, false)
            -- What still waits of an alert that is over was as good as told when it ended, and its
            -- end is owed as well, or what took its place.
            when 'opened' then due.is_active
            -- Of a service that flaps alerts come and go while nobody is told of any.
            when 'flapping_started' then
                (ended.ended_at > due.created_at) is not true
            else false
        end,
        due.is_marked_held, due.ready_at
    from due
    left join ended on ended.service_name = due.service_name;
end
$function$;

comment on function public.find_due_deliveries is
    'What a channel is owed by now, and whether a reason may hold it back; null where it is '
    'pointless.';


create or replace function public.hold_alert_deliveries(
    channel text,
    moment timestamptz
) returns uuid[]
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    due uuid[];
    judged uuid[];
    unstoppable uuid[];
    held uuid[];
    reasons text[];
begin
    select
        coalesce(array_agg(found.delivery_id), '{}'),
        coalesce(array_agg(found.delivery_id) filter (where found.can_be_held), '{}'),
        coalesce(array_agg(found.delivery_id) filter (where not found.can_be_held), '{}')
    into due, judged, unstoppable
    from public.find_due_deliveries(channel, moment) as found;
    select
        coalesce(array_agg(holding.delivery_id), '{}'),
        coalesce(array_agg(holding.hold_reason), '{}')
    into held, reasons
    from public.find_hold_reasons(judged, moment) as holding
    where holding.hold_reason is not null;

    with changed as materialized (
        select waiting.id, holding.hold_reason
        from unnest(due) as known (id)
        join public.alert_deliveries as waiting on waiting.id = known.id
        left join unnest(held, reasons) as holding (id, hold_reason) on holding.id = known.id
        where waiting.message_id is null
            and waiting.cancelled_at is null
            and holding.hold_reason
                is distinct from case when waiting.released_at is null then waiting.held_by end
        for update of waiting skip locked
    )
    update public.alert_deliveries as waiting
    set held_by = coalesce(changed.hold_reason, waiting.held_by),
        held_since = case
            when changed.hold_reason is null
                or (waiting.held_by is not null and waiting.released_at is null)
                then waiting.held_since
            else moment
        end,
        released_at = case when changed.hold_reason is null then moment end
    from changed
    where waiting.id = changed.id;

    -- A reminder that was written down just when its alert ended.
    with pointless as materialized (
        select waiting.id
        from public.alert_deliveries as waiting
        where waiting.channel = hold_alert_deliveries.channel
            and waiting.message_id is null
            and waiting.cancelled_at is null
            and waiting.kind = 'reminder'
            and not exists (
                select
                from public.alert_events as event
                where event.id = waiting.event_id
                    and event.status = 'active'
            )
        for update of waiting skip locked
    )
    update public.alert_deliveries as waiting
    set cancelled_at = moment,
        cancelled_because = 'over'
    from pointless
    where waiting.id = pointless.id;
    return unstoppable || array(
        select known.id
        from unnest(judged) as known (id)
        where exists (
            select
            from public.alert_channels as published
            where published.name = channel
                and published.is_published
        )
        except
        select holding.id
        from unnest(held) as holding (id)
    );
end
$function$;

comment on function public.hold_alert_deliveries is
    'Brings up to date what holds the deliveries of a channel, and lets go what nothing holds: '
    'these.';


create or replace function public.queue_alert_reminders(
    channel text,
    moment timestamptz
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    due_messages constant uuid[] := array(
        select sent.id
        from public.alert_channels as known
        join public.alert_messages as sent on sent.channel = known.name
        where known.name = queue_alert_reminders.channel
            and known.is_published
            and sent.awaits_reminders
            and sent.finished_at <= moment - public.bounded_interval(known.remind_every_seconds)
    );
    -- Of these, what the channel was told last of an alert that is still active.
    last_told constant uuid[] := array(
        select told.id
        from public.alert_deliveries as told
        join public.alert_events as event on event.id = told.event_id
        where told.message_id = any (due_messages)
            and event.status = 'active'
            and not exists (
                select
                from public.alert_deliveries as later
                where later.event_id = told.event_id
                    and later.channel = told.channel
                    and later.created_at > told.created_at
                    and later.cancelled_at is null
            )
    );
    held constant uuid[] := array(
        select reminder.delivery_id
        from public.find_hold_reasons(last_told, moment, 'reminder') as reminder
        where reminder.hold_reason is not null
    );
begin
    insert into public.alert_deliveries
        (service_name, incident_id, event_id, channel, kind, sequence, due_at)
    select
        told.service_name, told.incident_id, told.event_id, told.channel, 'reminder',
        1 + (
            select coalesce(max(earlier.sequence), 0)
            from public.alert_deliveries as earlier
            where earlier.event_id = told.event_id
                and earlier.channel = told.channel
                and earlier.kind = 'reminder'
        ),
        moment
    from public.alert_deliveries as told
    where told.id = any (last_told)
        and not told.id = any (held)
    on conflict do nothing;

    with settled as materialized (
        select sent.id
        from public.alert_messages as sent
        where sent.id = any (due_messages)
            and not exists (
                select
                from public.alert_deliveries as told
                where told.message_id = sent.id
                    and told.id = any (held)
            )
        for no key update skip locked
    )
    update public.alert_messages as sent
    set awaits_reminders = false
    from settled
    where sent.id = settled.id;
end
$function$;

comment on function public.queue_alert_reminders is
    'Writes down the reminders of a channel that are due, by when it was last told of each alert.';


create or replace function public.form_alert_messages(
    channel text,
    moment timestamptz,
    free uuid[]
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    rules public.alert_channels;
    oldest constant timestamptz := (
        select min(greatest(waiting.due_at, waiting.released_at))
        from unnest(free) as judged (id)
        join public.alert_deliveries as waiting on waiting.id = judged.id
        where waiting.message_id is null
            and waiting.cancelled_at is null
    );
    most_messages bigint;
    is_digest boolean;
    begins_at timestamptz;
begin
    select known.* into rules
    from public.alert_channels as known
    where known.name = channel;
    if oldest is null or moment < public.window_end_of(rules, oldest) then
        return;
    end if;
    most_messages := rules.rate_limit - public.count_formed_messages(rules, moment);
    if most_messages <= 0 then
        return;
    end if;
    -- What had to wait for the rate goes together.
    is_digest := rules.group_window_seconds > 0
        or public.count_formed_messages(rules, oldest) >= rules.rate_limit;
    -- Messages stay in the order in which they were made, also when the clock was set back.
    begins_at := greatest(
        moment,
        (
            select max(unfinished.created_at) + interval '1 microsecond'
            from public.alert_messages as unfinished
            where unfinished.channel = form_alert_messages.channel
                and unfinished.status in ('pending', 'sending')
        )
    );

    with taken as materialized (
        select waiting.*
        -- These alone: what was committed since then has been judged by nobody.
        from unnest(free) as judged (id)
        join public.alert_deliveries as waiting on waiting.id = judged.id
        where waiting.message_id is null
            and waiting.cancelled_at is null
        order by waiting.created_at, waiting.id
        limit 5000
        for update of waiting skip locked
    ),
    -- Somebody decides about them just now: what came after them of the same service waits as well.
    skipped as materialized (
        select waiting.service_name, min(waiting.created_at) as created_at
        from unnest(free) as judged (id)
        join public.alert_deliveries as waiting on waiting.id = judged.id
        where waiting.message_id is null
            and waiting.cancelled_at is null
            and not exists (
                select
                from taken
                where taken.id = waiting.id
            )
        group by waiting.service_name
    ),
    grouped as materialized (
        select
            taken.id, taken.service_name, taken.created_at,
            case
                -- What was held together goes together, and its services' order is kept.
                when bool_or(taken.released_at is not null) over (partition by taken.service_name)
                    then 'released'
                else taken.id::text
            end as part
        from taken
        where not exists (
            select
            from skipped
            where skipped.service_name = taken.service_name
                and skipped.created_at < taken.created_at
        )
    ),
    parted as materialized (
        select
            grouped.id, grouped.service_name, grouped.created_at,
            case
                when is_digest
                    or (select count(distinct every_part.part) from grouped as every_part)
                        > most_messages
                    then 'all'
                else grouped.part
            end as part
        from grouped
    ),
    composed as materialized (
        select
            parted.part,
            gen_random_uuid() as message_id,
            count(*) as delivery_count,
            case when count(distinct parted.service_name) = 1 then min(parted.service_name) end
                as service_name,
            row_number() over (order by min(parted.created_at), parted.part) as position
        from parted
        group by parted.part
    ),
    formed as (
        insert into public.alert_messages
            (id, channel, service_name, delivery_count, created_at, next_attempt_at, give_up_at)
        select
            composed.message_id, channel, composed.service_name, composed.delivery_count,
            begins_at + (composed.position - 1) * interval '1 microsecond', moment,
            moment + public.bounded_interval(rules.give_up_after_seconds)
        from composed
    )
    update public.alert_deliveries as waiting
    set message_id = composed.message_id
    from parted
    join composed on composed.part = parted.part
    where waiting.id = parted.id;
end
$function$;

comment on function public.form_alert_messages is
    'Makes messages of what a channel is owed, by its window and its rate.';


create or replace function public.find_ready_deliveries(
    channel text,
    moment timestamptz
) returns table (delivery_id uuid, ready_at timestamptz)
language plpgsql
stable
set search_path = ''
as $function$
begin
    return query
    select due.delivery_id, due.ready_at
    from public.find_due_deliveries(channel, moment) as due
    join public.alert_channels as known on known.name = find_ready_deliveries.channel
    where not due.can_be_held
        or (due.can_be_held and known.is_published and not due.is_marked_held);
end
$function$;

comment on function public.find_ready_deliveries is
    'What a channel is owed and nothing holds back, each with the moment since when.';


create or replace function public.window_end_of(
    rules public.alert_channels,
    ready_at timestamptz
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    -- Early, so that a digest of thousands is claimed, made and sent within its window.
    return ready_at + public.bounded_interval(
        rules.group_window_seconds - least(3, rules.group_window_seconds / 5)
    );
end
$function$;

comment on function public.window_end_of is
    'When a message is made of what a channel is owed, by when the oldest of it was ready.';


create or replace function public.count_formed_messages(
    rules public.alert_channels,
    moment timestamptz
) returns bigint
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select count(*)
        from public.alert_messages as formed
        where formed.channel = rules.name
            and formed.created_at > moment - public.bounded_interval(rules.rate_period_seconds)
            and formed.created_at <= moment
    );
end
$function$;

comment on function public.count_formed_messages is
    'How many messages were made for a channel in the period of its rate before a moment.';


create or replace function public.give_up_alert_messages(moment timestamptz) returns void
language plpgsql
volatile
set search_path = ''
as $function$
begin
    with overdue as materialized (
        select message.id
        from public.alert_messages as message
        where message.status in ('pending', 'sending')
            and message.give_up_at <= moment
            and (message.status = 'pending' or message.leased_until <= moment)
            -- What a disabled channel is owed waits.
            and not exists (
                select
                from public.alert_channels as channel
                where channel.name = message.channel
                    and channel.disabled_at is not null
            )
        for no key update skip locked
    )
    update public.alert_messages as message
    set status = 'dead',
        finished_at = moment,
        leased_by = null,
        leased_until = null,
        awaits_reminders = true,
        last_error = coalesce(message.last_error, 'its time was over before anybody sent it')
    from overdue
    where message.id = overdue.id;
end
$function$;

comment on function public.give_up_alert_messages is 'Puts messages aside whose time is over.';


create or replace function public.lease_alert_messages(
    worker uuid,
    channels text[],
    leased_until timestamptz,
    max_messages integer,
    moment timestamptz
) returns uuid[]
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    leased uuid[];
begin
    with free as materialized (
        select message.id
        from public.find_unfinished_messages(channels) as unfinished
        join public.alert_messages as message on message.id = unfinished.message_id
        where not unfinished.has_to_wait
            and (
                (message.status = 'pending' and message.next_attempt_at <= moment)
                or (message.status = 'sending' and message.leased_until <= moment)
            )
        order by message.created_at, message.id
        limit max_messages
        for update of message skip locked
    ),
    claimed as (
        update public.alert_messages as message
        set status = 'sending',
            attempts = message.attempts + 1,
            leased_by = worker,
            leased_until = lease_alert_messages.leased_until
        from free
        where message.id = free.id
        returning message.id, message.attempts
    ),
    begun as (
        insert into public.alert_message_attempts (message_id, attempt, worker, started_at)
        select claimed.id, claimed.attempts, worker, moment
        from claimed
        on conflict do nothing
    )
    select array_agg(claimed.id) into leased
    from claimed;
    return leased;
end
$function$;

comment on function public.lease_alert_messages is
    'Lends at most so many messages to a worker, until a moment; which ones.';


create or replace function public.find_unfinished_messages(
    channels text[]
) returns table (message_id uuid, has_to_wait boolean)
language plpgsql
stable
set search_path = ''
as $function$
begin
    return query
    select
        message.id,
        case
            when message.service_name is null then row_number() over in_order > 1
            else row_number() over in_order_of_service > 1
                or count(*) filter (where message.service_name is null) over in_order > 0
        end
    from public.alert_messages as message
    join public.alert_channels as known on known.name = message.channel
    where message.channel = any (channels)
        and message.status in ('pending', 'sending')
        and known.disabled_at is null
    window
        in_order as (
            partition by message.channel
            order by message.created_at, message.id
            rows unbounded preceding
        ),
        in_order_of_service as (
            partition by message.channel, message.service_name
            order by message.created_at, message.id
            rows unbounded preceding
        );
end
$function$;

comment on function public.find_unfinished_messages is
    'The messages that are not finished; one waits for an earlier one of its channel that is about '
    'the same service, or if either is a digest.';


create or replace function public.find_next_due(
    channels text[],
    moment timestamptz
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        with known as materialized (
            select channel as rules, channel.*
            from public.alert_channels as channel
            where channel.name = any (channels)
                and channel.disabled_at is null
        )
        select min(times.due_at)
        from (
            -- Escalations, and what was written since this claim began.
            select min(waiting.due_at) as due_at
            from known
            join public.alert_deliveries as waiting on waiting.channel = known.name
            where waiting.message_id is null
                and waiting.cancelled_at is null
                and waiting.due_at > moment
            union all
            select greatest(
                public.window_end_of(known.rules, ready.oldest),
                public.rate_end_of(known.rules, moment)
            )
            from known
            cross join lateral (
                select min(each.ready_at) as oldest
                from public.find_ready_deliveries(known.name, moment) as each
            ) as ready
            where ready.oldest is not null
            union all
            select case
                when message.status = 'sending' then message.leased_until
                else message.next_attempt_at
            end
            from public.find_unfinished_messages(channels) as unfinished
            join public.alert_messages as message on message.id = unfinished.message_id
            where not unfinished.has_to_wait
            union all
            select reminded.finished_at + public.bounded_interval(known.remind_every_seconds)
            from known
            cross join lateral (
                select min(sent.finished_at) as finished_at
                from public.alert_messages as sent
                where sent.channel = known.name
                    and sent.awaits_reminders
                    -- Those from before wait for something that has no time.
                    and sent.finished_at
                        > moment - public.bounded_interval(known.remind_every_seconds)
            ) as reminded
            where known.is_published
        ) as times
    );
end
$function$;

comment on function public.find_next_due is
    'When it is next worth claiming messages for these channels; null when nothing is in sight.';


create or replace function public.rate_end_of(
    rules public.alert_channels,
    moment timestamptz
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select formed.created_at + public.bounded_interval(rules.rate_period_seconds)
        from public.alert_messages as formed
        where formed.channel = rules.name
            and formed.created_at > moment - public.bounded_interval(rules.rate_period_seconds)
            and formed.created_at <= moment
        order by formed.created_at desc, formed.id desc
        offset rules.rate_limit - 1
        limit 1
    );
end
$function$;

comment on function public.rate_end_of is
    'When the rate of a channel allows the next message, or null when it does now.';


create or replace function public.claim_alert_messages(
    worker uuid,
    channels text[],
    lease_seconds double precision default 60,
    max_messages integer default 100
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    channel text;
    leased uuid[];
begin
    for channel in
        select known.name
        from public.alert_channels as known
        where known.name = any (channels)
            and known.disabled_at is null
            and (
                exists (
                    select
                    from public.alert_deliveries as waiting
                    where waiting.channel = known.name
                        and waiting.message_id is null
                        and waiting.cancelled_at is null
                        and waiting.due_at <= moment
                )
                or exists (
                    select
                    from public.alert_messages as sent
                    where sent.channel = known.name
                        and sent.awaits_reminders
                        and sent.finished_at
                            <= moment - public.bounded_interval(known.remind_every_seconds)
                )
            )
        order by known.name
    loop
        if pg_try_advisory_xact_lock(1886155361, hashtext(channel)) then
            perform public.queue_alert_reminders(channel, moment);
            perform public.form_alert_messages(
                channel, moment, public.hold_alert_deliveries(channel, moment)
            );
        end if;
    end loop;
    perform public.give_up_alert_messages(moment);
    leased := public.lease_alert_messages(
        worker, channels, moment + public.bounded_interval(lease_seconds), max_messages, moment
    );
    return jsonb_build_object(
        'messages', public.describe_leased_messages(leased),
        'next_due_at', public.find_next_due(channels, moment)
    );
end
$function$;

comment on function public.claim_alert_messages is
    'Makes messages of what these channels are owed, and lends those that may be sent to a worker.';


create or replace function public.describe_leased_messages(message_ids uuid[]) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', message.id,
                    'channel', message.channel,
                    'attempt', message.attempts,
                    'attempts_before', public.describe_attempts(message.id, message.attempts),
                    'created_at', message.created_at,
                    'give_up_at', message.give_up_at,
                    'leased_until', message.leased_until,
                    'deliveries', public.describe_deliveries(message.id)
                )
                order by message.created_at, message.id
            ),
            '[]'
        )
        from public.alert_messages as message
        where message.id = any (message_ids)
    );
end
$function$;

comment on function public.describe_leased_messages is
    'Messages with everything that whoever sends them needs to know.';


create or replace function public.describe_attempts(
    message_id uuid,
    before_attempt integer default 2147483647
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'attempt', tried.attempt,
                    'worker', tried.worker,
                    'started_at', tried.started_at,
                    'finished_at', tried.finished_at,
                    'outcome', tried.outcome,
                    'error', tried.error
                )
                order by tried.attempt
            ),
            '[]'
        )
        from public.alert_message_attempts as tried
        where tried.message_id = describe_attempts.message_id
            and tried.attempt < before_attempt
    );
end
$function$;

comment on function public.describe_attempts is 'The attempts at a message, the first one first.';


create or replace function public.describe_deliveries(message_id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', delivery.id,
                    'kind', delivery.kind,
                    'sequence', delivery.sequence,
                    'service_name', delivery.service_name,
                    'labels', coalesce(known.labels, '{}'),
                    'event_id', delivery.event_id,
                    'incident_id', delivery.incident_id,
                    -- An event can be tidied away before its last message is sent.
                    'alert_type', coalesce(event.alert_type, 'service_down'),
                    'event_status', coalesce(event.status, 'resolved'),
                    'event_created_at', coalesce(event.created_at, delivery.created_at),
                    'resolved_at', event.resolved_at,
                    'details', event.details,
                    'held_by', delivery.held_by,
                    'held_since', delivery.held_since,
                    'released_at', delivery.released_at,
                    'created_at', delivery.created_at,
                    'service_status', state.status,
                    'flapping_since', state.flapping_since
                )
                order by delivery.created_at, delivery.id
            ),
            '[]'
        )
        from public.alert_deliveries as delivery
        left join public.alert_events as event on event.id = delivery.event_id
        left join public.monitored_services as known
            on known.service_name = delivery.service_name
        left join public.service_states as state on state.service_name = delivery.service_name
        where delivery.message_id = describe_deliveries.message_id
    );
end
$function$;

comment on function public.describe_deliveries is
    'What a message tells, in order, each with its alert event and how its service is now.';


create or replace function public.finish_alert_message(
    id uuid,
    attempt integer,
    outcome text,
    error text default null,
    retry_after_seconds double precision default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    message public.alert_messages;
    is_late boolean;
begin
    if outcome is null or outcome not in ('delivered', 'failed', 'refused') then
        raise exception 'there is no outcome %', outcome using errcode = '22023';
    end if;
    select sent.* into message
    from public.alert_messages as sent
    where sent.id = finish_alert_message.id
    for no key update;
    if not found then
        return null;
    end if;
    update public.alert_message_attempts as tried
    set finished_at = moment,
        outcome = finish_alert_message.outcome,
        error = left(finish_alert_message.error, 2000)
    where tried.message_id = finish_alert_message.id
        and tried.attempt = finish_alert_message.attempt
        and tried.finished_at is null;
    is_late := not found or message.status <> 'sending' or message.attempts <> attempt;
    if message.status in ('delivered', 'dead') or (is_late and outcome <> 'delivered') then
        return to_jsonb(message);
    end if;
    return public.settle_alert_message(
        message, outcome, left(error, 2000), retry_after_seconds, moment
    );
end
$function$;

comment on function public.finish_alert_message is
    'Takes the report of an attempt, and says what becomes of the message; a report that comes too '
    'late is kept, and counts if the message arrived.';


create or replace function public.settle_alert_message(
    message public.alert_messages,
    outcome text,
    error text,
    retry_after_seconds double precision,
    moment timestamptz
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    is_over constant boolean := outcome <> 'failed' or moment >= message.give_up_at;
    settled public.alert_messages;
begin
    update public.alert_messages as sent
    set status = case
            when outcome = 'delivered' then 'delivered'
            when is_over then 'dead'
            else 'pending'
        end,
        next_attempt_at = case
            when is_over then sent.next_attempt_at
            else public.next_attempt_of(message, retry_after_seconds, moment)
        end,
        finished_at = case when is_over then moment end,
        awaits_reminders = is_over and exists (
            select
            from public.alert_deliveries as told
            where told.message_id = sent.id
                and told.kind <> 'resolved'
        ),
        leased_by = null,
        leased_until = null,
        last_error = case when outcome = 'delivered' then sent.last_error else error end
    where sent.id = message.id
    returning sent.* into settled;
    if outcome = 'delivered' then
        update public.alert_channels as channel
        set refusals_in_a_row = 0
        where channel.name = message.channel
            and channel.refusals_in_a_row > 0;
    elsif outcome = 'refused' then
        update public.alert_channels as channel
        set refusals_in_a_row = channel.refusals_in_a_row + 1,
            disabled_at = case
                when channel.refusals_in_a_row >= 2 then coalesce(channel.disabled_at, moment)
                else channel.disabled_at
            end,
            disabled_reason = case
                when channel.refusals_in_a_row >= 2 and channel.disabled_at is null
                    then 'it refused 3 messages in a row; the last time: '
                        || coalesce(error, 'no reason given')
                else channel.disabled_reason
            end
        where channel.name = message.channel;
    end if;
    return to_jsonb(settled);
end
$function$;

comment on function public.settle_alert_message is
    'Says what becomes of a message, and of its channel, after an attempt.';


create or replace function public.next_attempt_of(
    message public.alert_messages,
    retry_after_seconds double precision,
    moment timestamptz
) returns timestamptz
language plpgsql
volatile
set search_path = ''
as $function$
declare
    -- Twice as long each time, up to a quarter of an hour, and not all of them at once.
    pause_seconds constant double precision :=
        least(900, 5 * 2 ^ least(message.attempts - 1, 10)) * (0.5 + random() / 2);
    asked_seconds constant double precision := least(greatest(retry_after_seconds, 0), 2592000);
    last_chance constant timestamptz := message.give_up_at - interval '5 seconds';
    next_attempt_at constant timestamptz :=
        moment + make_interval(secs => greatest(pause_seconds, asked_seconds));
begin
    if moment < last_chance then
        return least(next_attempt_at, last_chance);
    end if;
    return least(next_attempt_at, message.give_up_at);
end
$function$;

comment on function public.next_attempt_of is
    'When a message is tried again after a failure: once more just before its time is over.';


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
    is_rerouted := public.replace_alert_routes(routes::jsonb);
    return jsonb_build_object(
        'changed', changed, 'unpublished', unpublished, 'is_rerouted', is_rerouted
    );
end
$function$;

comment on function public.publish_alert_channels is
    'Makes these the channels and routes; a channel that is missing is told nothing new, and one '
    'that is disabled stays so.';


create or replace function public.replace_alert_routes(routes jsonb) returns boolean
language plpgsql
volatile
set search_path = ''
as $function$
declare
    replaced bigint;
    removed bigint;
begin
    perform public.assert_route_hours(given.route -> 'hours')
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

comment on function public.replace_alert_routes is
    'Makes these the routes; says whether they were others before.';


create or replace function public.assert_route_hours(hours jsonb) returns void
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

comment on function public.assert_route_hours is 'Raises 22023 where a route has no proper hours.';


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


create or replace function public.find_alert_messages(
    status text default null,
    channel text default null,
    service_name text default null,
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
            select message.*
            from public.alert_messages as message
            where (find_alert_messages.status is null
                    or message.status = find_alert_messages.status)
                and (find_alert_messages.channel is null
                    or message.channel = find_alert_messages.channel)
                and (find_alert_messages.service_name is null
                    or exists (
                        select
                        from public.alert_deliveries as delivery
                        where delivery.message_id = message.id
                            and delivery.service_name = find_alert_messages.service_name
                    ))
                and (message.created_at, message.id) < (before_created_at, before_id)
            order by message.created_at desc, message.id desc
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_messages is
    'Messages, newest first; the next page comes before the last row''s (created_at, id).';


create or replace function public.find_alert_message(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select to_jsonb(message) || jsonb_build_object(
            'tried', public.describe_attempts(message.id),
            'deliveries', public.describe_deliveries(message.id)
        )
        from public.alert_messages as message
        where message.id = find_alert_message.id
    );
end
$function$;

comment on function public.find_alert_message is
    'The message with this id, with its attempts and what it tells; or null.';


create or replace function public.find_waiting_deliveries(
    channel text default null,
    service_name text default null,
    after_created_at timestamptz default '-infinity',
    after_id uuid default '00000000-0000-0000-0000-000000000000',
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    page constant uuid[] := array(
        select waiting.id
        from public.alert_deliveries as waiting
        where waiting.message_id is null
            and waiting.cancelled_at is null
            and (find_waiting_deliveries.channel is null
                or waiting.channel = find_waiting_deliveries.channel)
            and (find_waiting_deliveries.service_name is null
                or waiting.service_name = find_waiting_deliveries.service_name)
            and (waiting.created_at, waiting.id) > (after_created_at, after_id)
        order by waiting.created_at, waiting.id
        limit max_rows
    );
begin
    return (
        select coalesce(
            jsonb_agg(
                to_jsonb(waiting) || jsonb_build_object(
                    'alert_type', coalesce(event.alert_type, 'service_down'),
                    'hold_reason', case
                        when event.status = 'active' or waiting.kind = 'flapping_started'
                            then held.hold_reason
                    end
                )
                order by waiting.created_at, waiting.id
            ),
            '[]'
        )
        from unnest(page) as paged (id)
        join public.alert_deliveries as waiting on waiting.id = paged.id
        left join public.alert_events as event on event.id = waiting.event_id
        left join public.find_hold_reasons(page, statement_timestamp()) as held
            on held.delivery_id = waiting.id
    );
end
$function$;

comment on function public.find_waiting_deliveries is
    'What is owed and in no message yet, oldest first, with what holds it now; the next page comes '
    'after the last row''s (created_at, id).';


create or replace function public.delete_alert_messages_older_than(
    cutoff timestamptz,
    max_rows integer default 1000
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    expired uuid[];
    deleted bigint;
begin
    -- What was told of an incident is remembered until that is over, so that it can be resolved.
    expired := array(
        select message.id
        from public.alert_messages as message
        where message.status in ('delivered', 'dead')
            and message.created_at < cutoff
            and message.finished_at < cutoff
            and not exists (
                select
                from public.alert_deliveries as told
                join public.alert_events as event on event.id = told.event_id
                where told.message_id = message.id
                    and event.status = 'active'
            )
            and not exists (
                select
                from public.alert_deliveries as told
                join public.service_states as state on state.service_name = told.service_name
                where told.message_id = message.id
                    and told.incident_id in (state.incident_id, state.flapping_incident_id)
            )
        order by message.created_at, message.id
        limit max_rows
        for update skip locked
    );
    delete from public.alert_message_attempts as tried
    where tried.message_id = any (expired);
    delete from public.alert_deliveries as told
    where told.message_id = any (expired);
    delete from public.alert_messages as message
    where message.id = any (expired);
    deleted := cardinality(expired)
        + public.delete_old_deliveries(cutoff, max_rows)
        + public.delete_old_silences(cutoff, max_rows)
        + public.delete_old_acts(cutoff, max_rows);
    return to_jsonb(deleted);
end
$function$;

comment on function public.delete_alert_messages_older_than is
    'Deletes messages that were finished before the cutoff, and what else alerting left behind, at '
    'most max_rows of each; says how many rows.';


create or replace function public.delete_old_deliveries(
    cutoff timestamptz,
    max_rows integer
) returns bigint
language plpgsql
volatile
set search_path = ''
as $function$
declare
    deleted bigint;
begin
    with expired as materialized (
        select delivery.id
        from public.alert_deliveries as delivery
        where delivery.created_at < cutoff
            and (
                delivery.cancelled_at < cutoff
                -- Nobody delivers to a channel that is gone.
                or (
                    delivery.message_id is null
                    and not exists (
                        select
                        from public.alert_channels as channel
                        where channel.name = delivery.channel
                            and (channel.is_published or channel.updated_at >= cutoff)
                    )
                )
            )
        order by delivery.created_at
        limit max_rows
        for update skip locked
    )
    delete from public.alert_deliveries as delivery
    using expired
    where delivery.id = expired.id;
    get diagnostics deleted = row_count;
    return deleted;
end
$function$;

comment on function public.delete_old_deliveries is
    'Deletes what was dropped before the cutoff, or waits since then for a channel that is gone.';


create or replace function public.delete_old_silences(
    cutoff timestamptz,
    max_rows integer
) returns bigint
language plpgsql
volatile
set search_path = ''
as $function$
declare
    deleted bigint;
    more bigint;
begin
    with expired as materialized (
        select period.silence_id, period.starts_at
        from public.alert_silence_periods as period
        left join public.alert_silences as silence on silence.id = period.silence_id
        where period.ends_at < cutoff
            or silence.lifted_at < cutoff
        limit max_rows
        for update of period skip locked
    )
    delete from public.alert_silence_periods as period
    using expired
    where period.silence_id = expired.silence_id
        and period.starts_at = expired.starts_at;
    get diagnostics deleted = row_count;

    with expired as materialized (
        select silence.id
        from public.alert_silences as silence
        where silence.created_at < cutoff
            and (
                silence.lifted_at < cutoff
                or (silence.lifted_at is null and silence.schedule is null)
            )
            and not exists (
                select
                from public.alert_silence_periods as period
                where period.silence_id = silence.id
            )
        limit max_rows
        for update skip locked
    )
    delete from public.alert_silences as silence
    using expired
    where silence.id = expired.id;
    get diagnostics more = row_count;
    return deleted + more;
end
$function$;

comment on function public.delete_old_silences is
    'Deletes periods that were over before the cutoff, and silences that were lifted or have none.';


create or replace function public.delete_old_acts(
    cutoff timestamptz,
    max_rows integer
) returns bigint
language plpgsql
volatile
set search_path = ''
as $function$
declare
    deleted bigint;
begin
    with expired as materialized (
        select old_act.id
        from public.alert_acts as old_act
        where old_act.acted_at < cutoff
            -- Who has acknowledged what is still active is not forgotten.
            and not exists (
                select
                from public.alert_events as event
                where event.id = old_act.event_id
                    and event.status = 'active'
            )
        order by old_act.acted_at
        limit max_rows
        for update skip locked
    )
    delete from public.alert_acts as old_act
    using expired
    where old_act.id = expired.id;
    get diagnostics deleted = row_count;
    return deleted;
end
$function$;

comment on function public.delete_old_acts is
    'Deletes what people did before the cutoff, but for what concerns an active alert.';


do $$
declare
    verb regprocedure;
    outsider text;
begin
    foreach verb in array array[
        'public.bounded_interval(double precision)',
        'public.like_pattern_of(text)',
        'public.matches_service(jsonb, text, jsonb)',
        'public.hours_include(jsonb, timestamptz)',
        'public.find_routed_channels(text, text, timestamptz)',
        'public.find_muted_services(text[], timestamptz)',
        'public.find_hold_reasons(uuid[], timestamptz, text)',
        'public.is_service_in_trouble(text)',
        'public.is_event_acknowledged(uuid, timestamptz)',
        'public.find_alert_openings(uuid, timestamptz)',
        'public.drop_untold_deliveries(uuid, text, timestamptz)',
        'public.queue_alert_openings(text, text, uuid, uuid, timestamptz, text[])',
        'public.queue_alert_ends(text, text, uuid, uuid[], text[])',
        'public.queue_alert_messages(text, text, uuid, uuid, uuid)',
        'public.queue_flapping_end(text, uuid, uuid, uuid, timestamptz)',
        'public.hold_alert_deliveries(text, timestamptz)',
        'public.queue_alert_reminders(text, timestamptz)',
        'public.find_due_deliveries(text, timestamptz)',
        'public.form_alert_messages(text, timestamptz, uuid[])',
        'public.find_ready_deliveries(text, timestamptz)',
        'public.window_end_of(public.alert_channels, timestamptz)',
        'public.count_formed_messages(public.alert_channels, timestamptz)',
        'public.give_up_alert_messages(timestamptz)',
        'public.lease_alert_messages(uuid, text[], timestamptz, integer, timestamptz)',
        'public.find_unfinished_messages(text[])',
        'public.find_next_due(text[], timestamptz)',
        'public.rate_end_of(public.alert_channels, timestamptz)',
        'public.claim_alert_messages(uuid, text[], double precision, integer)',
        'public.describe_leased_messages(uuid[])',
        'public.describe_attempts(uuid, integer)',
        'public.describe_deliveries(uuid)',
        'public.finish_alert_message(uuid, integer, text, text, double precision)',
        'public.settle_alert_message(public.alert_messages, text, text, double precision, '
            'timestamptz)',
        'public.next_attempt_of(public.alert_messages, double precision, timestamptz)',
        'public.publish_alert_channels(json, json)',
        'public.replace_alert_routes(jsonb)',
        'public.assert_route_hours(jsonb)',
        'public.find_alert_channels()',
        'public.find_alert_messages(text, text, text, timestamptz, uuid, integer)',
        'public.find_alert_message(uuid)',
        'public.find_waiting_deliveries(text, text, timestamptz, uuid, integer)',
        'public.delete_alert_messages_older_than(timestamptz, integer)',
        'public.delete_old_deliveries(timestamptz, integer)',
        'public.delete_old_silences(timestamptz, integer)',
        'public.delete_old_acts(timestamptz, integer)'
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
