-- Records: what was sent and what waits, for people to read; and its end, after so many days.

create or replace function public.pulsebase_describe_attempts(
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
        where tried.message_id = pulsebase_describe_attempts.message_id
            and tried.attempt < before_attempt
    );
end
$function$;

comment on function public.pulsebase_describe_attempts is
    'The attempts at a message, the first one first.';


create or replace function public.pulsebase_describe_deliveries(message_id uuid) returns jsonb
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
        where delivery.message_id = pulsebase_describe_deliveries.message_id
    );
end
$function$;

comment on function public.pulsebase_describe_deliveries is
    'What a message tells, in order, each with its alert event and how its service is now.';


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
            'tried', public.pulsebase_describe_attempts(message.id),
            'deliveries', public.pulsebase_describe_deliveries(message.id)
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
        left join public.pulsebase_find_hold_reasons(page, statement_timestamp()) as held
            on held.delivery_id = waiting.id
    );
end
$function$;

comment on function public.find_waiting_deliveries is
    'What is owed and in no message yet, oldest first, with what holds it now; the next page comes '
    'after the last row''s (created_at, id).';


create or replace function public.pulsebase_delete_old_deliveries(
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

comment on function public.pulsebase_delete_old_deliveries is
    'Deletes what was dropped before the cutoff, or waits since then for a channel that is gone.';


create or replace function public.pulsebase_delete_old_silences(
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

comment on function public.pulsebase_delete_old_silences is
    'Deletes periods that were over before the cutoff, and silences that were lifted or have none.';


create or replace function public.pulsebase_delete_old_acts(
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

comment on function public.pulsebase_delete_old_acts is
    'Deletes what people did before the cutoff, but for what concerns an active alert.';


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
        + public.pulsebase_delete_old_deliveries(cutoff, max_rows)
        + public.pulsebase_delete_old_silences(cutoff, max_rows)
        + public.pulsebase_delete_old_acts(cutoff, max_rows);
    return to_jsonb(deleted);
end
$function$;

comment on function public.delete_alert_messages_older_than is
    'Deletes messages that were finished before the cutoff, and what else alerting left behind, at '
    'most max_rows of each; says how many rows.';


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
                'pulsebase_describe_attempts',
                'pulsebase_describe_deliveries',
                'find_alert_messages',
                'find_alert_message',
                'find_waiting_deliveries',
                'pulsebase_delete_old_deliveries',
                'pulsebase_delete_old_silences',
                'pulsebase_delete_old_acts',
                'delete_alert_messages_older_than'
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
