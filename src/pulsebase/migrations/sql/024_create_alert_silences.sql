-- Silences and maintenance windows. When they hold is written down ahead as periods, since what a
-- schedule means when clocks change is worked out by the client.

create or replace function public.pulsebase_matcher_problem(matcher jsonb) returns text
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

comment on function public.pulsebase_matcher_problem is
    'What is wrong with a matcher of services, as a sentence, or null.';


create or replace function public.pulsebase_alert_silence_row(
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

comment on function public.pulsebase_alert_silence_row is
    'A silence with the period that holds now, else the next one, else the last one.';


create or replace function public.find_alert_silence(id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select public.pulsebase_alert_silence_row(silence, clock_timestamp())
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
                select public.pulsebase_alert_silence_row(silence, moment) as shown
            ) as described
            where (which = 'all' or silence.lifted_at is null)
                and (silence.created_at, silence.id) < (before_created_at, before_id)
                and (service_name is null
                    or public.pulsebase_matches_service(silence.matcher, service_name, labels))
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


create or replace function public.pulsebase_has_silence_periods(
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
            where period.silence_id = pulsebase_has_silence_periods.silence_id
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

comment on function public.pulsebase_has_silence_periods is
    'Whether a silence holds at these times, or by its schedule.';


create or replace function public.pulsebase_write_silence_periods(
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

comment on function public.pulsebase_write_silence_periods is
    'Writes down when a silence holds; a period that is there may become longer.';


create or replace function public.pulsebase_free_silence_name(
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
    where silence.name = pulsebase_free_silence_name.name
        and silence.lifted_at is null
        and (public.pulsebase_alert_silence_row(silence, moment) -> 'is_over')::boolean;
end
$function$;

comment on function public.pulsebase_free_silence_name is
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
    matcher := public.pulsebase_decoded_json(matcher);
    schedule := nullif(public.pulsebase_decoded_json(schedule), 'null');
    periods := coalesce(nullif(public.pulsebase_decoded_json(periods), 'null'), '[]');
    problem := case
        when jsonb_typeof(periods) <> 'array' then 'periods must be a JSON array'
        when periods = '[]' and schedule is null then 'a silence needs a period or a schedule'
        else public.pulsebase_matcher_problem(matcher)
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
        perform public.pulsebase_free_silence_name(name, moment);
        insert into public.alert_silences
            (id, kind, name, matcher, schedule, note, created_by, created_at, planned_until)
        values (
            id, kind, name, matcher, schedule, note, coalesce(actor, current_user), moment,
            planned_until
        )
        on conflict do nothing
        returning * into silence;
        if found then
            perform public.pulsebase_write_silence_periods(id, periods);
            -- The act has the id of the silence: it is written as often as that, once.
            perform public.pulsebase_write_alert_act(id, kind, actor, note, silence_id => id);
            exit;
        end if;
        select known.* into silence
        from public.alert_silences as known
        where known.name = create_alert_silence.name
            and known.lifted_at is null;
        if found then
            exit when (silence.kind, silence.matcher, silence.schedule, silence.note)
                is not distinct from (kind, matcher, schedule, note)
                and public.pulsebase_has_silence_periods(silence.id, periods, schedule is not null);
            raise exception 'a silence named "%" is there already; lift it first', name
                using errcode = '23505';
        end if;
    end loop;
    return public.pulsebase_alert_silence_row(silence, clock_timestamp());
end
$function$;

comment on function public.create_alert_silence is
    'Stores a silence or maintenance window and returns it; one with the same id, or with the same '
    'name and rule, is returned as it is.';


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
        perform public.pulsebase_write_alert_act(act_id, 'lift', actor, note, silence_id => silence_id);
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
        perform public.pulsebase_write_silence_periods(silence.id, public.pulsebase_decoded_json(periods));
        return public.pulsebase_alert_silence_row(silence, clock_timestamp());
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
    windows := public.pulsebase_decoded_json(windows);
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
                and public.pulsebase_has_silence_periods(
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
                'pulsebase_matcher_problem',
                'pulsebase_alert_silence_row',
                'find_alert_silence',
                'find_alert_silences',
                'pulsebase_has_silence_periods',
                'pulsebase_write_silence_periods',
                'pulsebase_free_silence_name',
                'create_alert_silence',
                'lift_alert_silence',
                'find_alert_silences_to_plan',
                'plan_alert_silence',
                'publish_maintenance_windows'
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
