-- Holds: what keeps a message back. Maintenance, silences, a parent that is not well, and an
-- acknowledgement hold openings and reminders; the end of what was told is never held.

create or replace function public.pulsebase_is_service_in_trouble(service_name text) returns boolean
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
    where known.service_name = pulsebase_is_service_in_trouble.service_name;
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
                >= state.last_checked_at - make_interval(secs => public.pulsebase_number_within(
                    policy -> 'location_fresh_seconds', 1e-6, 2592000, 300
                ))
    );
end
$function$;

comment on function public.pulsebase_is_service_in_trouble is
    'Whether a service is not well, or has begun to fail and nothing is decided yet.';


create or replace function public.pulsebase_is_event_acknowledged(
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
            where newest.event_id = pulsebase_is_event_acknowledged.event_id
                and newest.act in ('acknowledge', 'unacknowledge')
            order by newest.acted_at desc, newest.id desc
            limit 1
        ),
        false
    );
end
$function$;

comment on function public.pulsebase_is_event_acknowledged is
    'Whether somebody has acknowledged an alert event, and that still holds.';


create or replace function public.pulsebase_find_muted_services(
    service_names text[],
    moment timestamptz
) returns table (muted_service text, is_maintenance boolean)
language plpgsql
stable
set search_path = ''
set jit = off
as $function$
begin
    -- What pulsebase_matches_service says of one service, for thousands of services and hundreds of silences.
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
            public.pulsebase_like_pattern_of(wanted.pattern) as like_pattern,
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
            public.pulsebase_like_pattern_of(wanted.pattern) as like_pattern
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

comment on function public.pulsebase_find_muted_services is
    'Which of these services a silence holds, or a maintenance window.';


create or replace function public.pulsebase_find_hold_reasons(
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
        from public.pulsebase_find_muted_services(
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
        where public.pulsebase_is_service_in_trouble(ancestors.ancestor)
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
                and public.pulsebase_is_event_acknowledged(waiting.event_id, moment) then 'acknowledged'
        end
    from waiting
    left join muted on muted.name = waiting.service_name
    left join orphaned on orphaned.name = waiting.service_name;
end
$function$;

comment on function public.pulsebase_find_hold_reasons is
    'Why each of these deliveries would have to wait now; without a reason, or a row, it may go.';


create or replace function public.pulsebase_find_due_deliveries(
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
        where waiting.channel = pulsebase_find_due_deliveries.channel
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

comment on function public.pulsebase_find_due_deliveries is
    'What a channel is owed by now, and whether a reason may hold it back; null where it is '
    'pointless.';


create or replace function public.pulsebase_hold_alert_deliveries(
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
    from public.pulsebase_find_due_deliveries(channel, moment) as found;
    select
        coalesce(array_agg(holding.delivery_id), '{}'),
        coalesce(array_agg(holding.hold_reason), '{}')
    into held, reasons
    from public.pulsebase_find_hold_reasons(judged, moment) as holding
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
        where waiting.channel = pulsebase_hold_alert_deliveries.channel
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

comment on function public.pulsebase_hold_alert_deliveries is
    'Brings up to date what holds the deliveries of a channel, and lets go what nothing holds: '
    'these.';


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
                'pulsebase_is_service_in_trouble',
                'pulsebase_is_event_acknowledged',
                'pulsebase_find_muted_services',
                'pulsebase_find_hold_reasons',
                'pulsebase_find_due_deliveries',
                'pulsebase_hold_alert_deliveries'
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
