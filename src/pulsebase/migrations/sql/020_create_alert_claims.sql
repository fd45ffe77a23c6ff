-- Claims: who sends. A message is lent to one worker for a time, and its report is taken.
--
-- A claim waits for nothing: what makes messages for a channel is one session at a time, by an
-- advisory lock that is only tried, and rows that are locked are skipped. That is not a lock on the
-- channel's row, since that would be a write with every claim. A report waits for its message and
-- then its channel.

create or replace function public.pulsebase_find_unfinished_messages(
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

comment on function public.pulsebase_find_unfinished_messages is
    'The messages that are not finished; one waits for an earlier one of its channel that is about '
    'the same service, or if either is a digest.';


create or replace function public.pulsebase_give_up_alert_messages(moment timestamptz) returns void
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

comment on function public.pulsebase_give_up_alert_messages is
    'Puts messages aside whose time is over.';


create or replace function public.pulsebase_lease_alert_messages(
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
        from public.pulsebase_find_unfinished_messages(channels) as unfinished
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
            leased_until = pulsebase_lease_alert_messages.leased_until
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

comment on function public.pulsebase_lease_alert_messages is
    'Lends at most so many messages to a worker, until a moment; which ones.';


create or replace function public.pulsebase_find_next_due(
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
                public.pulsebase_window_end_of(known.rules, ready.oldest),
                public.pulsebase_rate_end_of(known.rules, moment)
            )
            from known
            cross join lateral (
                select min(each.ready_at) as oldest
                from public.pulsebase_find_ready_deliveries(known.name, moment) as each
            ) as ready
            where ready.oldest is not null
            union all
            select case
                when message.status = 'sending' then message.leased_until
                else message.next_attempt_at
            end
            from public.pulsebase_find_unfinished_messages(channels) as unfinished
            join public.alert_messages as message on message.id = unfinished.message_id
            where not unfinished.has_to_wait
            union all
            select reminded.finished_at + public.pulsebase_bounded_interval(known.remind_every_seconds)
            from known
            cross join lateral (
                select min(sent.finished_at) as finished_at
                from public.alert_messages as sent
                where sent.channel = known.name
                    and sent.awaits_reminders
                    -- Those from before wait for something that has no time.
                    and sent.finished_at
                        > moment - public.pulsebase_bounded_interval(known.remind_every_seconds)
            ) as reminded
            where known.is_published
        ) as times
    );
end
$function$;

comment on function public.pulsebase_find_next_due is
    'When it is next worth claiming messages for these channels; null when nothing is in sight.';


create or replace function public.pulsebase_describe_leased_messages(message_ids uuid[])
returns jsonb
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
                    'attempts_before', public.pulsebase_describe_attempts(message.id, message.attempts),
                    'created_at', message.created_at,
                    'give_up_at', message.give_up_at,
                    'leased_until', message.leased_until,
                    'deliveries', public.pulsebase_describe_deliveries(message.id)
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

comment on function public.pulsebase_describe_leased_messages is
    'Messages with everything that whoever sends them needs to know.';


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
                            <= moment - public.pulsebase_bounded_interval(known.remind_every_seconds)
                )
            )
        order by known.name
    loop
        if pg_try_advisory_xact_lock(1886155361, hashtext(channel)) then
            perform public.pulsebase_queue_alert_reminders(channel, moment);
            perform public.pulsebase_form_alert_messages(
                channel, moment, public.pulsebase_hold_alert_deliveries(channel, moment)
            );
        end if;
    end loop;
    perform public.pulsebase_give_up_alert_messages(moment);
    leased := public.pulsebase_lease_alert_messages(
        worker, channels, moment + public.pulsebase_bounded_interval(lease_seconds), max_messages, moment
    );
    return jsonb_build_object(
        'messages', public.pulsebase_describe_leased_messages(leased),
        'next_due_at', public.pulsebase_find_next_due(channels, moment)
    );
end
$function$;

comment on function public.claim_alert_messages is
    'Makes messages of what these channels are owed, and lends those that may be sent to a worker.';


create or replace function public.pulsebase_next_attempt_of(
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

comment on function public.pulsebase_next_attempt_of is
    'When a message is tried again after a failure: once more just before its time is over.';


create or replace function public.pulsebase_settle_alert_message(
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
            else public.pulsebase_next_attempt_of(message, retry_after_seconds, moment)
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

comment on function public.pulsebase_settle_alert_message is
    'Says what becomes of a message, and of its channel, after an attempt.';


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
    return public.pulsebase_settle_alert_message(
        message, outcome, left(error, 2000), retry_after_seconds, moment
    );
end
$function$;

comment on function public.finish_alert_message is
    'Takes the report of an attempt, and says what becomes of the message; a report that comes too '
    'late is kept, and counts if the message arrived.';


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
                'pulsebase_find_unfinished_messages',
                'pulsebase_give_up_alert_messages',
                'pulsebase_lease_alert_messages',
                'pulsebase_find_next_due',
                'pulsebase_describe_leased_messages',
                'claim_alert_messages',
                'pulsebase_next_attempt_of',
                'pulsebase_settle_alert_message',
                'finish_alert_message'
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
