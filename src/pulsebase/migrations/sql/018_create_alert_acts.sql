-- What people do about alerts: acknowledge, resolve by hand, silence, lift, replay, disable.
--
-- Every act is a row in alert_acts, written in the transaction of what it does. It bears the id that
-- the client gave it, so a call that is sent twice is one act; and whoever asks for what is so
-- already changes nothing and writes nothing.
--
-- An acknowledgement is nothing but its act: the newest one of an event counts, until it is
-- withdrawn or its time is up. Acts on an event are dated while its row is locked, so that their
-- order is the order in which they happened.

alter table public.alert_acts
    drop constraint if exists alert_acts_actor_readable,
    drop constraint if exists alert_acts_note_short,
    add constraint alert_acts_actor_readable
        check (actor <> '' and length(actor) <= 100 and actor !~ '[\u0001-\u001f\u007f-\u009f]'),
    add constraint alert_acts_note_short check (length(note) <= 2000);

alter table public.alert_silences
    drop constraint if exists alert_silences_name_readable,
    drop constraint if exists alert_silences_people_readable,
    drop constraint if exists alert_silences_note_short,
    drop constraint if exists alert_silences_matcher_small,
    drop constraint if exists alert_silences_schedule_small,
    add constraint alert_silences_name_readable
        check (name <> '' and length(name) <= 100 and name !~ '[\u0001-\u001f\u007f-\u009f]'),
    add constraint alert_silences_people_readable check (
        created_by <> '' and length(created_by) <= 100
        and created_by !~ '[\u0001-\u001f\u007f-\u009f]' and length(lifted_by) <= 100
    ),
    add constraint alert_silences_note_short check (length(note) <= 2000),
    add constraint alert_silences_matcher_small check (octet_length(matcher::text) <= 65536),
    add constraint alert_silences_schedule_small check (octet_length(schedule::text) <= 4096);

create index if not exists idx_alert_silences_created_at
    on public.alert_silences (created_at, id);


create or replace function public.write_alert_act(
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

comment on function public.write_alert_act is
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


create or replace function public.find_acknowledgement(event_id uuid) returns public.alert_acts
language plpgsql
stable
set search_path = ''
as $function$
declare
    newest public.alert_acts;
begin
    select known.* into newest
    from public.alert_acts as known
    where known.event_id = find_acknowledgement.event_id
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

comment on function public.find_acknowledgement is
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
            cross join lateral public.find_acknowledgement(event.id) as held
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
    held := public.find_acknowledgement(id);
    if held.id is null
        or (held.actor, coalesce(held.note, ''), coalesce(held.until, 'infinity'))
            is distinct from
            (coalesce(actor, current_user), coalesce(note, ''), coalesce(until, 'infinity'))
    then
        perform public.write_alert_act(
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
    held := public.find_acknowledgement(id);
    if event.status = 'active' and held.id is not null
        and not exists (select from public.alert_acts as known where known.id = act_id) then
        perform public.write_alert_act(
            act_id, 'unacknowledge', actor, note, event.service_name, id
        );
    end if;
    return to_jsonb(event);
end
$function$;

comment on function public.unacknowledge_alert_event is
    'Withdraws the acknowledgement of an active event; returns the event.';


create or replace function public.instant_of(text_of_it text) returns timestamptz
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

comment on function public.instant_of is 'The time that a text says, or null where it says none.';


create or replace function public.details_resolved_by_person(
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
            public.instant_of(event.details ->> 'started_at'),
            public.instant_of(first_failed ->> 'checked_at')
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

comment on function public.details_resolved_by_person is
    'The details of an event that somebody resolves by hand.';


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
    event := public.lock_active_event(id);
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
            else public.details_resolved_by_person(
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
        perform public.forget_trouble(event.service_name, resolved_at);
    end if;
    perform public.write_alert_act(act_id, 'resolve', actor, note, event.service_name, event.id);
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


create or replace function public.lock_active_event(id uuid) returns public.alert_events
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
    where known.id = lock_active_event.id
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
    where known.id = lock_active_event.id
        and known.status = 'active'
    for update;
    return event;
end
$function$;

comment on function public.lock_active_event is
    'Locks the state of a service and its active event, in this order; null if it is not active.';


create or replace function public.forget_trouble(
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
    where state.service_name = forget_trouble.service_name;
end
$function$;

comment on function public.forget_trouble is
    'Makes the state of a service healthy, as if it had been looked at for the first time.';


create or replace function public.matcher_problem(matcher jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
begin
    if jsonb_typeof(matcher) is distinct from 'object' then
        return 'the matcher must be a JSON object of services and labels';
    elsif matcher - 'services' - 'labels' <> '{}' then
        return 'the matcher must have no keys but services and labels';
    elsif jsonb_typeof(coalesce(matcher -> 'services', '[]')) <> 'array'
        or jsonb_path_exists(
            matcher, 'strict $.services[*] ? (@.type() != "string" || @ == "")', silent => true
        )
        or matcher -> 'services' = '[]' then
        return 'the services of a matcher must be names or patterns, at least one';
    elsif jsonb_typeof(coalesce(matcher -> 'labels', '{}')) <> 'object'
        or jsonb_path_exists(
            matcher, 'strict $.labels.* ? (@.type() != "string")', silent => true
        ) then
        return 'the labels of a matcher must be texts';
    end if;
    return null;
end
$function$;

comment on function public.matcher_problem is
    'What is wrong with a matcher of services, as a sentence, or null.';


create or replace function public.alert_silence_row(
    silence public.alert_silences,
    moment timestamptz
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    shown public.alert_silence_periods;
    is_ahead boolean;
begin
    select period.* into shown
    from public.alert_silence_periods as period
    where period.silence_id = silence.id
        and (period.ends_at is null or period.ends_at > moment)
    order by period.starts_at
    limit 1;
    is_ahead := found;
    if not found then
        select period.* into shown
        from public.alert_silence_periods as period
        where period.silence_id = silence.id
        order by period.starts_at desc
        limit 1;
    end if;
    return to_jsonb(silence) || jsonb_build_object(
        'starts_at', shown.starts_at,
        'ends_at', shown.ends_at,
        'is_active', silence.lifted_at is null and is_ahead and shown.starts_at <= moment,
        'is_over', silence.lifted_at is not null or not (
            is_ahead
            or (silence.schedule is not null
                and coalesce(silence.planned_until < '9000-01-01', true))
        )
    );
end
$function$;

comment on function public.alert_silence_row is
    'A silence with the period that holds now, else the next one, else the last one.';


create or replace function public.find_alert_silence(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select public.alert_silence_row(silence, clock_timestamp())
        from public.alert_silences as silence
        where silence.id = find_alert_silence.id
    );
end
$function$;

comment on function public.find_alert_silence is 'The silence with this id, or null.';


create or replace function public.find_alert_silences(
    which text default 'active',
    service_name text default null,
    before_created_at timestamptz default 'infinity',
    before_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    labels constant jsonb := (
        select known.labels
        from public.monitored_services as known
        where known.service_name = find_alert_silences.service_name
    );
begin
    if which not in ('active', 'open', 'all') then
        raise exception 'which must be active, open or all; got %', which using errcode = '22023';
    end if;
    return (
        select coalesce(jsonb_agg(page.shown order by page.created_at desc, page.id desc), '[]')
        from (
            select silence.created_at, silence.id, described.shown
            from public.alert_silences as silence
            cross join lateral (
                select public.alert_silence_row(silence, moment) as shown
            ) as described
            where (which = 'all' or silence.lifted_at is null)
                and (silence.created_at, silence.id) < (before_created_at, before_id)
                and (service_name is null
                    or public.matches_service(silence.matcher, service_name, labels))
                and case which
                    when 'active' then (described.shown -> 'is_active')::boolean
                    when 'open' then not (described.shown -> 'is_over')::boolean
                    else true
                end
            order by silence.created_at desc, silence.id desc
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_silences is
    'Silences that hold now (active), that hold or will (open), or all, of one service or of all; '
    'newest first, the next page comes before the last row''s (created_at, id).';


create or replace function public.write_silence_periods(
    silence_id uuid,
    periods jsonb
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
begin
    -- A period without a beginning begins now, by the clock that decides when it holds.
    insert into public.alert_silence_periods as known (silence_id, starts_at, ends_at)
    select
        silence_id, beginning.starts_at,
        coalesce(
            given.ends_at, beginning.starts_at + make_interval(secs => given.duration_seconds)
        )
    from jsonb_to_recordset(periods) as given (
        starts_at timestamptz, ends_at timestamptz, duration_seconds double precision
    )
    cross join lateral (select coalesce(given.starts_at, moment) as starts_at) as beginning
    -- Planned by several monitors, one of which looked a little further.
    on conflict on constraint alert_silence_periods_pkey do update
    set ends_at = excluded.ends_at
    where excluded.ends_at > known.ends_at;
end
$function$;

comment on function public.write_silence_periods is
    'Writes down when a silence holds; a period that is there may become longer.';


create or replace function public.free_silence_name(
    name text,
    moment timestamptz
) returns void
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
begin
    -- Nobody lifted it: it ended when its last period did.
    update public.alert_silences as silence
    set lifted_at = coalesce(
        (
            select max(period.ends_at)
            from public.alert_silence_periods as period
            where period.silence_id = silence.id
        ),
        moment
    )
    where silence.name = free_silence_name.name
        and silence.lifted_at is null
        and (public.alert_silence_row(silence, moment) -> 'is_over')::boolean;
end
$function$;

comment on function public.free_silence_name is
    'Takes a silence that is over as lifted, so that another one may have its name.';


create or replace function public.create_alert_silence(
    id uuid,
    matcher jsonb,
    kind text default 'silence',
    name text default null,
    schedule jsonb default null,
    note text default null,
    actor text default null,
    periods jsonb default null,
    planned_until timestamptz default null
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    silence public.alert_silences;
    moment timestamptz;
    problem text;
begin
    matcher := public.decoded_json(matcher);
    schedule := nullif(public.decoded_json(schedule), 'null');
    periods := coalesce(nullif(public.decoded_json(periods), 'null'), '[]');
    problem := case
        when jsonb_typeof(periods) <> 'array' then 'periods must be a JSON array'
        when periods = '[]' and schedule is null then 'a silence needs a period or a schedule'
        else public.matcher_problem(matcher)
    end;
    if problem is not null then
        raise exception '%', problem using errcode = '22023';
    end if;
    loop
        select known.* into silence
        from public.alert_silences as known
        where known.id = create_alert_silence.id;
        exit when found;
        moment := clock_timestamp();
        perform public.free_silence_name(name, moment);
        insert into public.alert_silences
            (id, kind, name, matcher, schedule, note, created_by, created_at, planned_until)
        values (
            id, kind, name, matcher, schedule, note, coalesce(actor, current_user), moment,
            planned_until
        )
        on conflict do nothing
        returning * into silence;
        if found then
            perform public.write_silence_periods(id, periods);
            -- The act has the id of the silence: it is written as often as that, once.
            perform public.write_alert_act(id, kind, actor, note, silence_id => id);
            exit;
        end if;
        select known.* into silence
        from public.alert_silences as known
        where known.name = create_alert_silence.name
            and known.lifted_at is null;
        if found then
            exit when (silence.kind, silence.matcher, silence.schedule, silence.note)
                is not distinct from (kind, matcher, schedule, note)
                and public.has_silence_periods(silence.id, periods, schedule is not null);
            raise exception 'a silence named "%" is there already; lift it first', name
                using errcode = '23505';
        end if;
    end loop;
    return public.alert_silence_row(silence, clock_timestamp());
end
$function$;

comment on function public.create_alert_silence is
    'Stores a silence or maintenance window and returns it; one with the same id, or with the same '
    'name and rule, is returned as it is.';


create or replace function public.has_silence_periods(
    silence_id uuid,
    periods jsonb,
    is_scheduled boolean
) returns boolean
language plpgsql
stable
set search_path = ''
as $function$
begin
    return is_scheduled or not exists (
        select
        from jsonb_to_recordset(periods) as given (
            starts_at timestamptz, ends_at timestamptz, duration_seconds double precision
        )
        where not exists (
            select
            from public.alert_silence_periods as period
            where period.silence_id = has_silence_periods.silence_id
                and (
                    period.starts_at = given.starts_at
                    -- From now on, until something: not an hour from now once more.
                    or (given.starts_at is null and given.duration_seconds is null
                        and period.starts_at <= clock_timestamp())
                )
                and period.ends_at is not distinct from coalesce(
                    given.ends_at, given.starts_at + make_interval(secs => given.duration_seconds)
                )
        )
    );
end
$function$;

comment on function public.has_silence_periods is
    'Whether a silence holds at these times, or by its schedule.';


create or replace function public.decoded_json(value jsonb) returns jsonb
language plpgsql
immutable
set search_path = ''
as $function$
begin
    -- Some clients encode JSON twice.
    return case when jsonb_typeof(value) = 'string' then (value #>> '{}')::jsonb else value end;
end
$function$;

comment on function public.decoded_json is
    'A JSON object or array that may be in a JSON text.';


create or replace function public.lift_alert_silence(
    id uuid default null,
    name text default null,
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
    silence_id uuid;
begin
    if num_nonnulls(id, name) <> 1 then
        raise exception 'a silence is lifted by its id or by its name' using errcode = '22023';
    end if;
    -- Of several with this name the one that is not lifted, else the last that was.
    select known.id into silence_id
    from public.alert_silences as known
    where known.id = coalesce(
            (select repeated.silence_id from public.alert_acts as repeated where repeated.id = act_id),
            lift_alert_silence.id
        )
        or known.name = lift_alert_silence.name
            and not exists (select from public.alert_acts as repeated where repeated.id = act_id)
    order by known.lifted_at desc nulls first
    limit 1;
    if not found then
        return null;
    end if;
    update public.alert_silences as lifting
    set lifted_at = clock_timestamp(),
        lifted_by = coalesce(actor, current_user)
    where lifting.id = silence_id
        and lifting.lifted_at is null;
    if found then
        perform public.write_alert_act(act_id, 'lift', actor, note, silence_id => silence_id);
    end if;
    return public.find_alert_silence(silence_id);
end
$function$;

comment on function public.lift_alert_silence is
    'Ends a silence, by its id or name, and returns it; one that is lifted is returned as it is.';


create or replace function public.find_alert_silences_to_plan(
    horizon_seconds double precision,
    after_id uuid default '00000000-0000-0000-0000-000000000000',
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    moment constant timestamptz := clock_timestamp();
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.id), '[]')
        from (
            select
                silence.id, silence.name, silence.schedule, silence.planned_until,
                moment as asked_at,
                (
                    select count(*)
                    from public.alert_silence_periods as period
                    where period.silence_id = silence.id
                        and period.starts_at > moment
                ) as periods_ahead
            from public.alert_silences as silence
            where silence.lifted_at is null
                and silence.schedule is not null
                and coalesce(silence.planned_until, '-infinity')
                    < moment + make_interval(secs => horizon_seconds)
                and silence.id > after_id
            order by silence.id
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_alert_silences_to_plan is
    'The silences by schedule whose periods are written down for less than the horizon.';


create or replace function public.plan_alert_silence(
    id uuid,
    periods jsonb,
    planned_until timestamptz
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    silence public.alert_silences;
begin
    update public.alert_silences as planning
    set planned_until = greatest(planning.planned_until, plan_alert_silence.planned_until)
    where planning.id = plan_alert_silence.id
        and planning.lifted_at is null
        and planning.schedule is not null
    returning planning.* into silence;
    if found then
        perform public.write_silence_periods(silence.id, public.decoded_json(periods));
        return public.alert_silence_row(silence, clock_timestamp());
    end if;
    return public.find_alert_silence(id);
end
$function$;

comment on function public.plan_alert_silence is
    'Writes down more periods of a silence by schedule, complete up to planned_until; returns it.';


create or replace function public.publish_maintenance_windows(
    windows jsonb,
    actor text
) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
#variable_conflict use_variable
declare
    published public.alert_silences;
    wanted record;
    created integer := 0;
    lifted integer := 0;
begin
    windows := public.decoded_json(windows);
    -- Monitors that start together publish one after another; the second finds nothing to do.
    lock table public.alert_silences in share row exclusive mode;
    for published in
        select known.*
        from public.alert_silences as known
        where known.lifted_at is null
            and known.name is not null
        order by known.id
    loop
        select given.* into wanted
        from jsonb_to_recordset(windows) as given (
            name text, matcher jsonb, schedule jsonb, note text, periods jsonb
        )
        where given.name = published.name;
        if found then
            continue when ('maintenance', wanted.matcher, wanted.schedule, wanted.note)
                is not distinct from
                (published.kind, published.matcher, published.schedule, published.note)
                and public.has_silence_periods(
                    published.id, wanted.periods, published.schedule is not null
                );
        elsif published.created_by <> actor then
            continue;
        end if;
        perform public.lift_alert_silence(id => published.id, actor => actor);
        lifted := lifted + 1;
    end loop;
    for wanted in
        select given.*
        from jsonb_to_recordset(windows) as given (
            id uuid, name text, matcher jsonb, schedule jsonb, note text, periods jsonb,
            planned_until timestamptz
        )
        where not exists (
                select
                from public.alert_silences as known
                where known.name = given.name
                    and known.lifted_at is null
            )
            -- What was long ago and is still in the file is not made again with every start.
            and (
                given.schedule is not null
                or exists (
                    select
                    from jsonb_to_recordset(given.periods) as period (ends_at timestamptz)
                    where coalesce(period.ends_at, 'infinity') > clock_timestamp()
                )
            )
    loop
        perform public.create_alert_silence(
            wanted.id, wanted.matcher, 'maintenance', wanted.name, wanted.schedule, wanted.note,
            actor, wanted.periods, wanted.planned_until
        );
        created := created + 1;
    end loop;
    return jsonb_build_object('created', created, 'lifted', lifted);
end
$function$;

comment on function public.publish_maintenance_windows is
    'Makes the maintenance windows that an actor publishes be these and no others, by their names.';


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
            clock_timestamp() + public.bounded_interval(channel.give_up_after_seconds)
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
        perform public.write_alert_act(act_id, 'enable_channel', actor, note, channel => name);
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
        perform public.write_alert_act(act_id, 'disable_channel', actor, reason, channel => name);
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
        give_up_at = clock_timestamp() + public.bounded_interval(coalesce(
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
        perform public.write_alert_act(
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
    foreach verb in array array[
        'public.write_alert_act(uuid, text, text, text, text, uuid, uuid, uuid, text, timestamptz)',
        'public.find_alert_acts(uuid, uuid, uuid, text, text, timestamptz, timestamptz, timestamptz, uuid, integer)',
        'public.find_acknowledgement(uuid)',
        'public.find_alert_acknowledgements(text, uuid, integer)',
        'public.acknowledge_alert_event(uuid, text, text, timestamptz, uuid)',
        'public.unacknowledge_alert_event(uuid, text, text, uuid)',
        'public.instant_of(text)',
        'public.details_resolved_by_person(public.alert_events, jsonb, jsonb, timestamptz, text, text)',
        'public.resolve_alert_event(uuid, timestamptz, text, text, uuid)',
        'public.lock_active_event(uuid)',
        'public.forget_trouble(text, timestamptz)',
        'public.matcher_problem(jsonb)',
        'public.alert_silence_row(public.alert_silences, timestamptz)',
        'public.find_alert_silence(uuid)',
        'public.find_alert_silences(text, text, timestamptz, uuid, integer)',
        'public.write_silence_periods(uuid, jsonb)',
        'public.free_silence_name(text, timestamptz)',
        'public.create_alert_silence(uuid, jsonb, text, text, jsonb, text, text, jsonb, timestamptz)',
        'public.has_silence_periods(uuid, jsonb, boolean)',
        'public.decoded_json(jsonb)',
        'public.lift_alert_silence(uuid, text, text, text, uuid)',
        'public.find_alert_silences_to_plan(double precision, uuid, integer)',
        'public.plan_alert_silence(uuid, jsonb, timestamptz)',
        'public.publish_maintenance_windows(jsonb, text)',
        'public.enable_alert_channel(text, text, text, uuid)',
        'public.disable_alert_channel(text, text, text, uuid)',
        'public.replay_alert_message(uuid, text, text, uuid)'
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
