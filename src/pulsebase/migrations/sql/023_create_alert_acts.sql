-- What people do about alerts: acknowledge, resolve by hand, silence, lift, replay, disable.
--
-- Every act is a row in alert_acts, written in the transaction of what it does. It bears the id that
-- the client gave it, so a call that is sent twice is one act; and whoever asks for what is so
-- already changes nothing and writes nothing.
--
-- An acknowledgement is nothing but its act: the newest one of an event counts, until it is
-- withdrawn or its time is up. Acts on an event are dated while its row is locked, so that their
-- order is the order in which they happened.

create or replace function public.pulsebase_decoded_json(value jsonb) returns jsonb
language plpgsql
immutable
set search_path = ''
as $function$
begin
    -- Some clients encode JSON twice.
    return case when jsonb_typeof(value) = 'string' then (value #>> '{}')::jsonb else value end;
end
$function$;

comment on function public.pulsebase_decoded_json is
    'A JSON object or array that may be in a JSON text.';


create or replace function public.pulsebase_write_alert_act(
    act_id uuid,
    act text,
    actor text,
    note text default null,
    service_name text default null,
    event_id uuid default null,
    silence_id uuid default null,
    message_id uuid default null,
    channel text default null,
    until timestamptz default null
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
begin
    insert into public.alert_acts
        (id, act, actor, acted_at, service_name, event_id, silence_id, message_id, channel, until,
            note)
    values (
        coalesce(act_id, gen_random_uuid()), act, coalesce(actor, current_user), clock_timestamp(),
        service_name, event_id, silence_id, message_id, channel, until, note
    );
end
$function$;

comment on function public.pulsebase_write_alert_act is
    'Writes down an act; where nobody is named, the role of the database was it.';


create or replace function public.find_alert_acts(
    event_id uuid default null,
    silence_id uuid default null,
    message_id uuid default null,
    channel text default null,
    service_name text default null,
    since timestamptz default '-infinity',
    until timestamptz default 'infinity',
    before_acted_at timestamptz default 'infinity',
    before_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    max_rows integer default 100
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.acted_at desc, page.id desc), '[]')
        from (
            select known.*
            from public.alert_acts as known
            where (find_alert_acts.event_id is null or known.event_id = find_alert_acts.event_id)
                and (find_alert_acts.silence_id is null
                    or known.silence_id = find_alert_acts.silence_id)
                and (find_alert_acts.message_id is null
                    or known.message_id = find_alert_acts.message_id)
                and (find_alert_acts.channel is null or known.channel = find_alert_acts.channel)
                and (find_alert_acts.service_name is null
                    or known.service_name = find_alert_acts.service_name)
                and known.acted_at >= since
                and known.acted_at < find_alert_acts.until
                and (known.acted_at, known.id) < (before_acted_at, before_id)
            order by known.acted_at desc, known.id desc
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_acts is
    'Acts, newest first, within [since, until); the next page comes before the last row''s '
    '(acted_at, id).';


create or replace function public.pulsebase_find_acknowledgement(event_id uuid)
returns public.alert_acts
language plpgsql
stable
set search_path = ''
as $function$
declare
    newest public.alert_acts;
begin
    select known.* into newest
    from public.alert_acts as known
    where known.event_id = pulsebase_find_acknowledgement.event_id
        and known.act in ('acknowledge', 'unacknowledge')
    order by known.acted_at desc, known.id desc
    limit 1;
    if newest.act = 'acknowledge'
        and (newest.until is null or newest.until > clock_timestamp()) then
        return newest;
    end if;
    return null;
end
$function$;

comment on function public.pulsebase_find_acknowledgement is
    'The acknowledgement of an event that holds now, or null.';


create or replace function public.find_alert_acknowledgements(
    service_name text default null,
    after_event_id uuid default '00000000-0000-0000-0000-000000000000',
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.event_id), '[]')
        from (
            select held.*
            from public.alert_events as event
            cross join lateral public.pulsebase_find_acknowledgement(event.id) as held
            where event.status = 'active'
                and event.id > after_event_id
                and (find_alert_acknowledgements.service_name is null
                    or event.service_name = find_alert_acknowledgements.service_name)
                and held.id is not null
            order by event.id
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_acknowledgements is
    'The acknowledgements of active events that hold now, by the event''s id; the next page comes '
    'after the last row''s.';


create or replace function public.acknowledge_alert_event(
    id uuid,
    actor text default null,
    note text default null,
    until timestamptz default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    event public.alert_events;
    held public.alert_acts;
begin
    select known.* into event
    from public.alert_events as known
    where known.id = acknowledge_alert_event.id
    for update;
    if not found then
        return null;
    end if;
    if event.status <> 'active'
        or exists (select from public.alert_acts as known where known.id = act_id) then
        return to_jsonb(event);
    end if;
    if until <= clock_timestamp() then
        raise exception 'until must be in the future; got %', until using errcode = '22023';
    end if;
    held := public.pulsebase_find_acknowledgement(id);
    if held.id is null
        or (held.actor, coalesce(held.note, ''), coalesce(held.until, 'infinity'))
            is distinct from
            (coalesce(actor, current_user), coalesce(note, ''), coalesce(until, 'infinity'))
    then
        perform public.pulsebase_write_alert_act(
            act_id, 'acknowledge', actor, note, event.service_name, id, until => until
        );
    end if;
    return to_jsonb(event);
end
$function$;

comment on function public.acknowledge_alert_event is
    'Says that somebody has seen an active event, which silences its reminders until then; returns '
    'the event.';


create or replace function public.unacknowledge_alert_event(
    id uuid,
    actor text default null,
    note text default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    event public.alert_events;
    held public.alert_acts;
begin
    select known.* into event
    from public.alert_events as known
    where known.id = unacknowledge_alert_event.id
    for update;
    if not found then
        return null;
    end if;
    held := public.pulsebase_find_acknowledgement(id);
    if event.status = 'active' and held.id is not null
        and not exists (select from public.alert_acts as known where known.id = act_id) then
        perform public.pulsebase_write_alert_act(
            act_id, 'unacknowledge', actor, note, event.service_name, id
        );
    end if;
    return to_jsonb(event);
end
$function$;

comment on function public.unacknowledge_alert_event is
    'Withdraws the acknowledgement of an active event; returns the event.';


create or replace function public.pulsebase_instant_of(text_of_it text) returns timestamptz
language plpgsql
stable
set search_path = ''
as $function$
begin
    return text_of_it::timestamptz;
exception
    when data_exception then
        return null;
end
$function$;

comment on function public.pulsebase_instant_of is
    'The time that a text says, or null where it says none.';


create or replace function public.pulsebase_details_resolved_by_person(
    event public.alert_events,
    first_failed jsonb,
    last_failed jsonb,
    resolved_at timestamptz,
    actor text,
    note text
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    began constant timestamptz := coalesce(
        least(
            public.pulsebase_instant_of(event.details ->> 'started_at'),
            public.pulsebase_instant_of(first_failed ->> 'checked_at')
        ),
        event.created_at
    );
    extended jsonb;
begin
    if jsonb_typeof(coalesce(event.details, '{}')) <> 'object' then
        return event.details;
    end if;
    extended := coalesce(event.details, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'last_failed', last_failed,
        'resolved_by', 'person',
        'actor', coalesce(actor, current_user),
        'note', left(note, 500),
        'downtime_seconds', case
            when isfinite(began) and isfinite(resolved_at)
                then greatest(0, extract(epoch from resolved_at - began))
        end
    ));
    -- What somebody made by hand may have filled its room.
    return case when octet_length(extended::text) <= 65536 then extended else event.details end;
end
$function$;

comment on function public.pulsebase_details_resolved_by_person is
    'The details of an event that somebody resolves by hand.';


create or replace function public.pulsebase_lock_active_event(id uuid) returns public.alert_events
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    event public.alert_events;
begin
    select known.* into event
    from public.alert_events as known
    where known.id = pulsebase_lock_active_event.id
        and known.status = 'active';
    if not found then
        return null;
    end if;
    -- The state first, as everywhere. Where there is none one is made, or an evaluation that begins
    -- just now could adopt the event while it is being resolved.
    insert into public.service_states (service_name)
    values (event.service_name)
    on conflict do nothing;
    perform
    from public.service_states as known
    where known.service_name = event.service_name
    for update;
    select known.* into event
    from public.alert_events as known
    where known.id = pulsebase_lock_active_event.id
        and known.status = 'active'
    for update;
    return event;
end
$function$;

comment on function public.pulsebase_lock_active_event is
    'Locks the state of a service and its active event, in this order; null if it is not active.';


create or replace function public.pulsebase_forget_trouble(
    service_name text,
    moment timestamptz
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
begin
    -- Not steady: the checks that follow are looked at one by one, and those before are not read
    -- again, so that a service that goes on failing opens anew by its policy and no sooner. Of the
    -- locations it stays known that they are there: one of several does not decide alone.
    update public.service_states as state
    set status = 'healthy',
        since = moment,
        is_steady = false,
        tracks = (
            select coalesce(
                jsonb_object_agg(
                    one.location,
                    jsonb_build_object(
                        'verdict', 'healthy',
                        'last_checked_at', one.track -> 'last_checked_at',
                        'failing_streak', 0,
                        'window', '[]'::jsonb
                    )
                ),
                '{}'
            )
            from jsonb_each(state.tracks) as one (location, track)
        ),
        incident_id = null,
        event_id = null,
        first_failed = null,
        last_failed = null,
        updated_at = clock_timestamp()
    where state.service_name = pulsebase_forget_trouble.service_name;
end
$function$;

comment on function public.pulsebase_forget_trouble is
    'Makes the state of a service healthy, as if it had been looked at for the first time.';


drop function if exists public.resolve_alert_event(uuid, timestamptz);

create or replace function public.resolve_alert_event(
    id uuid,
    resolved_at timestamptz default null,
    actor text default null,
    note text default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    event public.alert_events;
    state public.service_states;
    incident_id uuid;
begin
    event := public.pulsebase_lock_active_event(id);
    if event.id is null then
        return public.find_alert_event(id);
    end if;
    select known.* into strict state
    from public.service_states as known
    where known.service_name = event.service_name;
    incident_id := case
        when state.event_id = event.id then state.incident_id
        when event.details ->> 'incident_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            then nullif((event.details ->> 'incident_id')::uuid, state.incident_id)
    end;

    resolved_at := coalesce(resolved_at, current_timestamp);
    update public.alert_events as resolving
    set status = 'resolved',
        resolved_at = resolve_alert_event.resolved_at,
        -- An application's own event, resolved by nobody in particular, keeps the details it has.
        details = case
            when incident_id is null and actor is null then resolving.details
            else public.pulsebase_details_resolved_by_person(
                event,
                case when state.event_id = event.id then state.first_failed end,
                case when state.event_id = event.id then state.last_failed end,
                resolve_alert_event.resolved_at, actor, note
            )
        end
    where resolving.id = event.id
        and resolving.created_at = event.created_at
    returning resolving.* into event;
    if state.event_id = event.id then
        perform public.pulsebase_forget_trouble(event.service_name, resolved_at);
    end if;
    perform public.pulsebase_write_alert_act(act_id, 'resolve', actor, note, event.service_name, event.id);
    if incident_id is not null then
        perform public.queue_alert_messages(
            'resolved_by_hand', event.service_name, incident_id, event.id
        );
    end if;
    return to_jsonb(event);
end
$function$;

comment on function public.resolve_alert_event is
    'Resolves an active event by hand and returns its row; a resolved one is returned as it is.';


create or replace function public.enable_alert_channel(
    name text,
    actor text default null,
    note text default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    changed public.alert_channels;
begin
    -- What waited meanwhile has its whole time before it. Messages are locked before channels.
    update public.alert_messages as waiting
    set give_up_at = greatest(
            waiting.give_up_at,
            clock_timestamp() + public.pulsebase_bounded_interval(channel.give_up_after_seconds)
        )
    from public.alert_channels as channel
    where channel.name = enable_alert_channel.name
        and channel.disabled_at is not null
        and waiting.channel = channel.name
        and waiting.status in ('pending', 'sending')
        and not exists (select from public.alert_acts as known where known.id = act_id);
    update public.alert_channels as channel
    set disabled_at = null,
        disabled_reason = null,
        refusals_in_a_row = 0,
        updated_at = clock_timestamp()
    where channel.name = enable_alert_channel.name
        and channel.disabled_at is not null
        and not exists (select from public.alert_acts as known where known.id = act_id)
    returning channel.* into changed;
    if found then
        perform public.pulsebase_write_alert_act(act_id, 'enable_channel', actor, note, channel => name);
    end if;
    return (
        select channel
        from jsonb_array_elements(public.find_alert_channels()) as channel
        where channel ->> 'name' = enable_alert_channel.name
    );
end
$function$;

comment on function public.enable_alert_channel is
    'Lets a disabled channel be sent to again and returns it; what it is owed has waited.';


create or replace function public.disable_alert_channel(
    name text,
    actor text default null,
    reason text default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    changed public.alert_channels;
begin
    update public.alert_channels as channel
    set disabled_at = clock_timestamp(),
        disabled_reason = coalesce(reason, 'disabled by ' || coalesce(actor, current_user)),
        updated_at = clock_timestamp()
    where channel.name = disable_alert_channel.name
        and channel.disabled_at is null
        and not exists (select from public.alert_acts as known where known.id = act_id)
    returning channel.* into changed;
    if found then
        perform public.pulsebase_write_alert_act(act_id, 'disable_channel', actor, reason, channel => name);
    end if;
    return (
        select channel
        from jsonb_array_elements(public.find_alert_channels()) as channel
        where channel ->> 'name' = disable_alert_channel.name
    );
end
$function$;

comment on function public.disable_alert_channel is
    'Sends nothing to a channel until it is enabled, and returns it; what it is owed waits.';


create or replace function public.replay_alert_message(
    id uuid,
    actor text default null,
    note text default null,
    act_id uuid default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    message public.alert_messages;
begin
    update public.alert_messages as replaying
    set status = 'pending',
        next_attempt_at = clock_timestamp(),
        give_up_at = clock_timestamp() + public.pulsebase_bounded_interval(coalesce(
            (
                select channel.give_up_after_seconds
                from public.alert_channels as channel
                where channel.name = replaying.channel
            ),
            86400
        )),
        finished_at = null,
        leased_by = null,
        leased_until = null,
        awaits_reminders = false
    where replaying.id = replay_alert_message.id
        and replaying.status = 'dead'
        and not exists (select from public.alert_acts as known where known.id = act_id)
    returning replaying.* into message;
    if found then
        perform public.pulsebase_write_alert_act(
            act_id, 'replay', actor, note, message.service_name, message_id => id,
            channel => message.channel
        );
        return to_jsonb(message);
    end if;
    return (
        select to_jsonb(known)
        from public.alert_messages as known
        where known.id = replay_alert_message.id
    );
end
$function$;

comment on function public.replay_alert_message is
    'Sends a message that was given up again, under the same id, and returns it; any other is '
    'returned as it is.';


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
                'pulsebase_decoded_json',
                'pulsebase_write_alert_act',
                'find_alert_acts',
                'pulsebase_find_acknowledgement',
                'find_alert_acknowledgements',
                'acknowledge_alert_event',
                'unacknowledge_alert_event',
                'pulsebase_instant_of',
                'pulsebase_details_resolved_by_person',
                'pulsebase_lock_active_event',
                'pulsebase_forget_trouble',
                'resolve_alert_event',
                'enable_alert_channel',
                'disable_alert_channel',
                'replay_alert_message'
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
