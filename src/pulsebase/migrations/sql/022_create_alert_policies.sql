-- Policies: by which rules alerts open and close, and what configurations say of services.

do $$
begin
    if to_regtype('public.alert_rules') is null then
        -- A policy, read: every value is there and within its bounds.
        create type public.alert_rules as (
            opens boolean,
            watches_degraded boolean,
            down_open_checks integer,
            down_open_of integer,
            down_open_seconds double precision,
            down_close_checks integer,
            degraded_open_checks integer,
            degraded_open_of integer,
            degraded_open_seconds double precision,
            degraded_close_checks integer,
            locations_agree integer,
            location_fresh interval,
            flapping_changes integer,
            flapping_within interval
        );
    end if;
end
$$;


create or replace function public.pulsebase_default_alert_policy() returns jsonb
language sql
immutable
set search_path = ''
as $function$
    select '{
        "enabled": true, "degraded_enabled": true,
        "down_open_checks": 3, "down_open_of": null, "down_open_seconds": null,
        "down_close_checks": 2,
        "degraded_open_checks": 3, "degraded_open_of": null, "degraded_open_seconds": null,
        "degraded_close_checks": 2,
        "locations_agree": 0, "location_fresh_seconds": 300,
        "flapping_changes": 6, "flapping_within_seconds": 3600
    }'::jsonb
$function$;

comment on function public.pulsebase_default_alert_policy is
    'The policy of a service for which none is set.';


create or replace function public.pulsebase_number_within(
    given jsonb,
    lowest double precision,
    highest double precision,
    otherwise double precision
) returns double precision
language plpgsql
immutable
set search_path = ''
as $function$
begin
    if jsonb_typeof(given) = 'number' and given::numeric between lowest and highest then
        return given::double precision;
    end if;
    return otherwise;
end
$function$;

comment on function public.pulsebase_number_within is
    'A number out of JSON if it is one and within its bounds, else the other value.';


create or replace function public.alert_policy_of(service_name text) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
declare
    known public.monitored_services;
    policy jsonb := public.pulsebase_default_alert_policy();
    matching jsonb;
begin
    select watched.* into known
    from public.monitored_services as watched
    where watched.service_name = alert_policy_of.service_name;
    for matching in
        select layer.alert_policy
        from public.alert_policies as layer
        where layer.matcher is null
            or public.pulsebase_matches_service(
                layer.matcher, alert_policy_of.service_name, coalesce(known.labels, '{}')
            )
        order by layer.position
    loop
        policy := policy || matching;
    end loop;
    return policy || coalesce(known.alert_policy, '{}');
end
$function$;

comment on function public.alert_policy_of is
    'The policy of a service: the built-in one, then those that match it in their order, then its '
    'own, key by key.';


create or replace function public.pulsebase_alert_rules_of(policy jsonb) returns public.alert_rules
language plpgsql
immutable
set search_path = ''
as $function$
declare
    longest constant double precision := 30 * 86400;
    rules public.alert_rules;
begin
    -- Whatever somebody wrote into the table by hand, a check must never be refused because of it.
    rules.opens := policy -> 'enabled' is distinct from 'false';
    rules.watches_degraded := policy -> 'degraded_enabled' is distinct from 'false';
    rules.down_open_checks := public.pulsebase_number_within(policy -> 'down_open_checks', 1, 100, 3);
    rules.down_open_of := public.pulsebase_number_within(
        policy -> 'down_open_of', rules.down_open_checks, 100, rules.down_open_checks
    );
    rules.down_open_seconds := public.pulsebase_number_within(
        policy -> 'down_open_seconds', 1e-6, longest, null
    );
    rules.down_close_checks := public.pulsebase_number_within(policy -> 'down_close_checks', 1, 100, 2);
    rules.degraded_open_checks := public.pulsebase_number_within(
        policy -> 'degraded_open_checks', 1, 100, 3
    );
    rules.degraded_open_of := public.pulsebase_number_within(
        policy -> 'degraded_open_of', rules.degraded_open_checks, 100, rules.degraded_open_checks
    );
    rules.degraded_open_seconds := public.pulsebase_number_within(
        policy -> 'degraded_open_seconds', 1e-6, longest, null
    );
    rules.degraded_close_checks := public.pulsebase_number_within(
        policy -> 'degraded_close_checks', 1, 100, 2
    );
    rules.locations_agree := public.pulsebase_number_within(policy -> 'locations_agree', -1, 1000, 0);
    rules.location_fresh := make_interval(
        secs => public.pulsebase_number_within(policy -> 'location_fresh_seconds', 1e-6, longest, 300)
    );
    rules.flapping_changes := public.pulsebase_number_within(policy -> 'flapping_changes', 0, 100, 6);
    rules.flapping_within := make_interval(
        secs => public.pulsebase_number_within(policy -> 'flapping_within_seconds', 1e-6, longest, 3600)
    );
    return rules;
end
$function$;

comment on function public.pulsebase_alert_rules_of is
    'A policy read into its rules; what is missing or out of bounds has the built-in value.';


create or replace function public.pulsebase_alert_policy_problem(policy jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $function$
declare
    longest constant double precision := 30 * 86400;
    bound record;
begin
    if jsonb_typeof(policy) is distinct from 'object' then
        return 'a policy is an object';
    end if;
    for bound in
        select key.name
        from jsonb_object_keys(policy) as key (name)
        where not public.pulsebase_default_alert_policy() ? key.name
        order by key.name
    loop
        return format('a policy has no key %s', left(bound.name, 100));
    end loop;
    for bound in
        select switch.name
        from (values ('enabled'), ('degraded_enabled')) as switch (name)
        where jsonb_typeof(policy -> switch.name) not in ('boolean', 'null')
    loop
        return format('%s must be true or false', bound.name);
    end loop;
    for bound in
        select *
        from (values
            ('down_open_checks', 1, 100), ('down_open_of', 1, 100),
            ('down_open_seconds', 1e-6, longest), ('down_close_checks', 1, 100),
            ('degraded_open_checks', 1, 100), ('degraded_open_of', 1, 100),
            ('degraded_open_seconds', 1e-6, longest), ('degraded_close_checks', 1, 100),
            ('locations_agree', -1, 1000), ('location_fresh_seconds', 1e-6, longest),
            ('flapping_changes', 0, 100), ('flapping_within_seconds', 1e-6, longest)
        ) as bounds (name, lowest, highest)
        where policy ? bounds.name
            and jsonb_typeof(policy -> bounds.name) <> 'null'
            and public.pulsebase_number_within(policy -> bounds.name, bounds.lowest, bounds.highest, null)
                is null
    loop
        return format('%s must be a number from %s to %s', bound.name, bound.lowest, bound.highest);
    end loop;
    for bound in
        select level.name
        from (values ('down'), ('degraded')) as level (name)
        where public.pulsebase_number_within(policy -> (level.name || '_open_of'), 1, 100, 100)
            < public.pulsebase_number_within(policy -> (level.name || '_open_checks'), 1, 100, 1)
    loop
        return format('%s_open_of must not be less than %1$s_open_checks', bound.name);
    end loop;
    return null;
end
$function$;

comment on function public.pulsebase_alert_policy_problem is
    'What is wrong with a policy, in a sentence; null when nothing is.';


create or replace function public.publish_alert_policies(policies jsonb) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    problem text;
    gone bigint;
    changed bigint;
begin
    if jsonb_typeof(policies) = 'string' then
        policies := (policies #>> '{}')::jsonb;
    end if;
    select public.pulsebase_alert_policy_problem(given.one -> 'alert_policy') into problem
    from jsonb_array_elements(policies) as given (one)
    where public.pulsebase_alert_policy_problem(given.one -> 'alert_policy') is not null
    limit 1;
    if problem is not null then
        raise exception '%', problem using errcode = '22023';
    end if;
    delete from public.alert_policies as known
    where known.position not between 1 and jsonb_array_length(policies);
    get diagnostics gone = row_count;
    with given as materialized (
        select one.position, one.policy -> 'matcher' as matcher,
            one.policy -> 'alert_policy' as alert_policy
        from jsonb_array_elements(policies) with ordinality as one (policy, position)
    )
    insert into public.alert_policies as known (position, matcher, alert_policy)
    select given.position, nullif(given.matcher, 'null'), given.alert_policy
    from given
    order by given.position
    on conflict (position) do update
    set matcher = excluded.matcher,
        alert_policy = excluded.alert_policy
    where (known.matcher, known.alert_policy)
        is distinct from (excluded.matcher, excluded.alert_policy);
    get diagnostics changed = row_count;
    return to_jsonb(gone + changed);
end
$function$;

comment on function public.publish_alert_policies is
    'Replaces the policies by an array of {matcher, alert_policy}, in their order.';


create or replace function public.publish_monitored_services(services jsonb) returns jsonb
language plpgsql
volatile
set search_path = ''
as $function$
declare
    problem record;
    changed bigint;
begin
    if jsonb_typeof(services) = 'string' then
        services := (services #>> '{}')::jsonb;
    end if;
    for problem in
        select given.one ->> 'service_name' as service_name,
            public.pulsebase_alert_policy_problem(given.one -> 'alert_policy') as sentence
        from jsonb_array_elements(services) as given (one)
        where jsonb_typeof(given.one -> 'alert_policy') <> 'null'
            and public.pulsebase_alert_policy_problem(given.one -> 'alert_policy') is not null
        limit 1
    loop
        raise exception '%: %', problem.service_name, problem.sentence using errcode = '22023';
    end loop;
    insert into public.monitored_services as known
        (service_name, labels, depends_on, interval_seconds, alert_policy)
    select
        given.service_name, coalesce(nullif(given.labels, 'null'), '{}'),
        coalesce(given.depends_on, '{}'), given.interval_seconds,
        nullif(given.alert_policy, 'null')
    from jsonb_to_recordset(services) as given (
        service_name text, labels jsonb, depends_on text[], interval_seconds double precision,
        alert_policy jsonb
    )
    order by given.service_name collate "C"
    on conflict (service_name) do update
    set labels = excluded.labels,
        depends_on = excluded.depends_on,
        interval_seconds = excluded.interval_seconds,
        alert_policy = excluded.alert_policy,
        updated_at = current_timestamp
    where (known.labels, known.depends_on, known.interval_seconds, known.alert_policy)
        is distinct from (
            excluded.labels, excluded.depends_on, excluded.interval_seconds, excluded.alert_policy
        );
    get diagnostics changed = row_count;
    return to_jsonb(changed);
end
$function$;

comment on function public.publish_monitored_services is
    'Stores what a configuration says of services; says how many were new or differ.';


create or replace function public.find_monitored_services(
    service_name text default null,
    after_service_name text default null,
    max_rows integer default 1000
) returns jsonb
language plpgsql
stable
set search_path = ''
as $function$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.service_name), '[]')
        from (
            select known.*
            from public.monitored_services as known
            where (find_monitored_services.service_name is null
                    or known.service_name = find_monitored_services.service_name)
                and (after_service_name is null or known.service_name > after_service_name)
            order by known.service_name
            limit max_rows
        ) as page
    );
end
$function$;

comment on function public.find_monitored_services is
    'What configurations say of services, by name; the next page comes after the last row''s name.';


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
                'pulsebase_default_alert_policy',
                'pulsebase_number_within',
                'alert_policy_of',
                'pulsebase_alert_rules_of',
                'pulsebase_alert_policy_problem',
                'publish_alert_policies',
                'publish_monitored_services',
                'find_monitored_services'
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
