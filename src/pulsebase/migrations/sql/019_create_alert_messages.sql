-- Messages: what is sent is one delivery, or a digest of many. They are made of what is owed, by the
-- window and the rate of a channel; reminders are owed by the clock of the database.

create or replace function public.pulsebase_find_ready_deliveries(
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
    from public.pulsebase_find_due_deliveries(channel, moment) as due
    join public.alert_channels as known on known.name = pulsebase_find_ready_deliveries.channel
    where not due.can_be_held
        or (due.can_be_held and known.is_published and not due.is_marked_held);
end
$function$;

comment on function public.pulsebase_find_ready_deliveries is
    'What a channel is owed and nothing holds back, each with the moment since when.';


create or replace function public.pulsebase_window_end_of(
    rules public.alert_channels,
    ready_at timestamptz
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    -- Early, so that a digest of thousands is claimed, made and sent within its window.
    return ready_at + public.pulsebase_bounded_interval(
        rules.group_window_seconds - least(3, rules.group_window_seconds / 5)
    );
end
$function$;

comment on function public.pulsebase_window_end_of is
    'When a message is made of what a channel is owed, by when the oldest of it was ready.';


create or replace function public.pulsebase_count_formed_messages(
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
            and formed.created_at > moment - public.pulsebase_bounded_interval(rules.rate_period_seconds)
            and formed.created_at <= moment
    );
end
$function$;

comment on function public.pulsebase_count_formed_messages is
    'How many messages were made for a channel in the period of its rate before a moment.';


create or replace function public.pulsebase_rate_end_of(
    rules public.alert_channels,
    moment timestamptz
) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select formed.created_at + public.pulsebase_bounded_interval(rules.rate_period_seconds)
        from public.alert_messages as formed
        where formed.channel = rules.name
            and formed.created_at > moment - public.pulsebase_bounded_interval(rules.rate_period_seconds)
            and formed.created_at <= moment
        order by formed.created_at desc, formed.id desc
        offset rules.rate_limit - 1
        limit 1
    );
end
$function$;

comment on function public.pulsebase_rate_end_of is
    'When the rate of a channel allows the next message, or null when it does now.';


create or replace function public.pulsebase_queue_alert_reminders(
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
        where known.name = pulsebase_queue_alert_reminders.channel
            and known.is_published
            and sent.awaits_reminders
            and sent.finished_at <= moment - public.pulsebase_bounded_interval(known.remind_every_seconds)
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
        from public.pulsebase_find_hold_reasons(last_told, moment, 'reminder') as reminder
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

comment on function public.pulsebase_queue_alert_reminders is
    'Writes down the reminders of a channel that are due, by when it was last told of each alert.';


create or replace function public.pulsebase_form_alert_messages(
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
    if oldest is null or moment < public.pulsebase_window_end_of(rules, oldest) then
        return;
    end if;
    most_messages := rules.rate_limit - public.pulsebase_count_formed_messages(rules, moment);
    if most_messages <= 0 then
        return;
    end if;
    -- What had to wait for the rate goes together.
    is_digest := rules.group_window_seconds > 0
        or public.pulsebase_count_formed_messages(rules, oldest) >= rules.rate_limit;
    -- Messages stay in the order in which they were made, also when the clock was set back.
    begins_at := greatest(
        moment,
        (
            select max(unfinished.created_at) + interval '1 microsecond'
            from public.alert_messages as unfinished
            where unfinished.channel = pulsebase_form_alert_messages.channel
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
            moment + public.pulsebase_bounded_interval(rules.give_up_after_seconds)
        from composed
    )
    update public.alert_deliveries as waiting
    set message_id = composed.message_id
    from parted
    join composed on composed.part = parted.part
    where waiting.id = parted.id;
end
$function$;

comment on function public.pulsebase_form_alert_messages is
    'Makes messages of what a channel is owed, by its window and its rate.';


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
                'pulsebase_find_ready_deliveries',
                'pulsebase_window_end_of',
                'pulsebase_count_formed_messages',
                'pulsebase_rate_end_of',
                'pulsebase_queue_alert_reminders',
                'pulsebase_form_alert_messages'
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
