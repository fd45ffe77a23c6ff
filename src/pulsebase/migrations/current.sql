-- The schema after all migrations, for reading. Generated: python -m tests.migration.schema
-- A database is never made from this file; pulsebase db migrate does that.

set local check_function_bodies = off;

CREATE TABLE public.alert_events (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(100) NOT NULL,
    alert_type text NOT NULL,
    status text NOT NULL,
    details jsonb,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    resolved_at timestamp with time zone,
    CONSTRAINT alert_events_alert_type_check CHECK ((alert_type = ANY (ARRAY['service_down'::text, 'service_degraded'::text, 'recovery'::text]))),
    CONSTRAINT alert_events_status_check CHECK ((status = ANY (ARRAY['active'::text, 'resolved'::text])))
);

CREATE TABLE public.migrations (
    id text NOT NULL,
    name text NOT NULL,
    checksum text,
    executed_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    duration_ms bigint
);

CREATE TABLE public.monitors (
    id uuid NOT NULL,
    last_seen_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    steady_since timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    started_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    gone_at timestamp with time zone,
    heartbeat_interval_seconds double precision NOT NULL,
    service_count integer DEFAULT 0 NOT NULL,
    version text NOT NULL,
    name text,
    location text,
    services_digest text,
    services bytea,
    CONSTRAINT monitors_heartbeat_interval_positive CHECK (((heartbeat_interval_seconds > (0)::double precision) AND (heartbeat_interval_seconds <= (86400)::double precision))),
    CONSTRAINT monitors_location_readable CHECK (((location <> ''::text) AND (length(location) <= 100) AND (location !~ '[\u0001-\u001f\u007f-\u009f]'::text))),
    CONSTRAINT monitors_name_readable CHECK (((name <> ''::text) AND (length(name) <= 100) AND (name !~ '[\u0001-\u001f\u007f-\u009f]'::text))),
    CONSTRAINT monitors_services_complete CHECK ((octet_length(services) = (8 * service_count)))
)
WITH (fillfactor='50');

CREATE TABLE public.service_health_checks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(100) NOT NULL,
    status text NOT NULL,
    latency_ms integer,
    checked_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    probe_details jsonb,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT service_health_checks_status_check CHECK ((status = ANY (ARRAY['healthy'::text, 'degraded'::text, 'down'::text])))
);

ALTER TABLE ONLY public.monitors ALTER COLUMN services SET STORAGE EXTERNAL;

COMMENT ON TABLE public.monitors IS 'The running monitors, one row each; kept up by their beats.';

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_created_at_present CHECK ((created_at IS NOT NULL)) NOT VALID;

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_details_small_object CHECK (((jsonb_typeof(details) = 'object'::text) AND (octet_length((details)::text) <= 65536))) NOT VALID;

ALTER TABLE ONLY public.alert_events
    ADD CONSTRAINT alert_events_pkey PRIMARY KEY (id);

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_service_name_readable CHECK ((((service_name)::text <> ''::text) AND ((service_name)::text !~ '[\u0001-\u001f\u007f-\u009f]'::text))) NOT VALID;

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.monitors
    ADD CONSTRAINT monitors_pkey PRIMARY KEY (id);

ALTER TABLE public.service_health_checks
    ADD CONSTRAINT service_health_checks_checked_at_not_in_future CHECK ((checked_at <= (created_at + '00:05:00'::interval))) NOT VALID;

ALTER TABLE public.service_health_checks
    ADD CONSTRAINT service_health_checks_latency_ms_not_negative CHECK ((latency_ms >= 0)) NOT VALID;

ALTER TABLE ONLY public.service_health_checks
    ADD CONSTRAINT service_health_checks_pkey PRIMARY KEY (id);

ALTER TABLE public.service_health_checks
    ADD CONSTRAINT service_health_checks_probe_details_small_object CHECK (((jsonb_typeof(probe_details) = 'object'::text) AND (octet_length((probe_details)::text) <= 65536))) NOT VALID;

ALTER TABLE public.service_health_checks
    ADD CONSTRAINT service_health_checks_service_name_readable CHECK ((((service_name)::text <> ''::text) AND ((service_name)::text !~ '[\u0001-\u001f\u007f-\u009f]'::text))) NOT VALID;

ALTER TABLE public.service_health_checks
    ADD CONSTRAINT service_health_checks_times_present CHECK (((checked_at IS NOT NULL) AND (created_at IS NOT NULL))) NOT VALID;

CREATE INDEX idx_alert_events_created_at ON public.alert_events USING btree (created_at);

CREATE INDEX idx_alert_events_service_created ON public.alert_events USING btree (service_name, created_at, id);

CREATE INDEX idx_alert_events_service_name ON public.alert_events USING btree (service_name);

CREATE INDEX idx_alert_events_status ON public.alert_events USING btree (status);

CREATE INDEX idx_service_health_checks_created_at ON public.service_health_checks USING btree (created_at);

CREATE INDEX idx_service_health_checks_service_checked ON public.service_health_checks USING btree (service_name, checked_at, id);

CREATE INDEX idx_service_health_checks_service_created ON public.service_health_checks USING btree (service_name, created_at);

CREATE INDEX idx_service_health_checks_service_name ON public.service_health_checks USING btree (service_name);

ALTER TABLE public.alert_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.migrations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.monitors ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.service_health_checks ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text DEFAULT NULL::text, location text DEFAULT NULL::text, was_cut_off boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    own_steady_since timestamptz;
begin
    update public.monitors as own
    set last_seen_at = moment,
        steady_since = case
            when was_cut_off
                or own.last_seen_at < moment - make_interval(secs => 2.5 * heartbeat_interval_seconds)
                or own.steady_since > moment  -- somebody set this server's clock back
                then moment
            else own.steady_since
        end,
        gone_at = null,
        heartbeat_interval_seconds = beat_monitor.heartbeat_interval_seconds,
        version = beat_monitor.version,
        name = beat_monitor.name,
        location = beat_monitor.location
    where own.id = beat_monitor.id
    returning own.steady_since into own_steady_since;
    if not found then
        insert into public.monitors
            (id, last_seen_at, steady_since, started_at, heartbeat_interval_seconds, version, name,
                location)
        values (id, moment, moment, moment, heartbeat_interval_seconds, version, name, location)
        on conflict do nothing;
        own_steady_since := moment;
    end if;

    -- Another one is gone when it was silent for two and a half of its own intervals while this one
    -- reached the database all the time; so is one last seen in the future, before the clock was set
    -- back. A locked row is one that beats just now.
    with silent as materialized (
        select other.id
        from public.monitors as other
        cross join lateral (
            select make_interval(secs => 2.5 * other.heartbeat_interval_seconds)
        ) as patience (length)
        where other.id <> beat_monitor.id
            and other.gone_at is null
            and own_steady_since < moment - patience.length
            and other.last_seen_at
                not between moment - patience.length and moment + patience.length
        for update of other skip locked
    )
    update public.monitors as other
    set gone_at = moment
    from silent
    where other.id = silent.id;

    with forgotten as materialized (
        select other.id
        from public.monitors as other
        where other.gone_at is not null
            and other.last_seen_at < moment - interval '1 day'
        for update skip locked
    )
    delete from public.monitors as other
    using forgotten
    where other.id = forgotten.id;

    return public.find_monitors(include_gone => false);
end
$$;

COMMENT ON FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text, location text, was_cut_off boolean) IS 'Says that a monitor is alive; marks those that are gone and returns those that are there.';

CREATE FUNCTION public.count_health_checks_by_status(service_name text DEFAULT NULL::text, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    if count_health_checks_by_status.service_name is null then
        return (
            select jsonb_build_object(
                'healthy', count(*) filter (where counted.status = 'healthy'),
                'degraded', count(*) filter (where counted.status = 'degraded'),
                'down', count(*) filter (where counted.status = 'down')
            )
            from public.service_health_checks as counted
            where counted.checked_at >= since
                and counted.checked_at < until
                -- No check arrives more than five minutes before its time; this finds an index.
                and counted.created_at >= since - interval '5 minutes'
        );
    end if;
    return (
        select jsonb_build_object(
            'healthy', count(*) filter (where counted.status = 'healthy'),
            'degraded', count(*) filter (where counted.status = 'degraded'),
            'down', count(*) filter (where counted.status = 'down')
        )
        from public.service_health_checks as counted
        where counted.service_name = count_health_checks_by_status.service_name
            and counted.checked_at >= since
            and counted.checked_at < until
    );
end
$$;

COMMENT ON FUNCTION public.count_health_checks_by_status(service_name text, since timestamp with time zone, until timestamp with time zone) IS 'How many checks had each status within [since, until), of one service or of all.';

CREATE FUNCTION public.create_alert_event(service_name text, alert_type text, status text DEFAULT 'active'::text, details jsonb DEFAULT NULL::jsonb, id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    stored public.alert_events;
begin
    if jsonb_typeof(details) = 'string' then
        details := (details #>> '{}')::jsonb;
    end if;
    insert into public.alert_events (id, service_name, alert_type, status, details, resolved_at)
    values (
        coalesce(id, gen_random_uuid()), service_name, alert_type, status, details,
        case when status = 'resolved' then current_timestamp end
    )
    on conflict do nothing
    returning * into stored;
    if not found then
        select earlier.* into stored
        from public.alert_events as earlier
        where earlier.id = create_alert_event.id;
    end if;
    return to_jsonb(stored);
end
$$;

COMMENT ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) IS 'Stores one alert event and returns its row; a repeated id returns the row that is there.';

CREATE FUNCTION public.create_health_check(service_name text, status text, latency_ms integer DEFAULT NULL::integer, checked_at timestamp with time zone DEFAULT NULL::timestamp with time zone, probe_details jsonb DEFAULT NULL::jsonb, id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    stored public.service_health_checks;
begin
    -- Some clients encode JSON twice; the details are an object, so a text can only be one of those.
    if jsonb_typeof(probe_details) = 'string' then
        probe_details := (probe_details #>> '{}')::jsonb;
    end if;
    insert into public.service_health_checks
        (id, service_name, status, latency_ms, checked_at, probe_details)
    values (
        coalesce(id, gen_random_uuid()), service_name, status, latency_ms,
        coalesce(checked_at, current_timestamp), probe_details
    )
    on conflict do nothing
    returning * into stored;
    if not found then
        select earlier.* into stored
        from public.service_health_checks as earlier
        where earlier.id = create_health_check.id;
    end if;
    return to_jsonb(stored);
end
$$;

COMMENT ON FUNCTION public.create_health_check(service_name text, status text, latency_ms integer, checked_at timestamp with time zone, probe_details jsonb, id uuid) IS 'Stores one check and returns its row; a repeated id returns the row that is there.';

CREATE FUNCTION public.create_health_checks(checks json) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    inserted bigint;
begin
    if json_typeof(checks) = 'string' then
        checks := (checks #>> '{}')::json;
    end if;
    insert into public.service_health_checks
        (id, service_name, status, latency_ms, checked_at, probe_details)
    select
        coalesce(given.id, gen_random_uuid()), given.service_name, given.status, given.latency_ms,
        coalesce(given.checked_at, current_timestamp), given.probe_details
    from json_to_recordset(checks) as given (
        id uuid, service_name text, status text, latency_ms integer,
        checked_at timestamptz, probe_details jsonb
    )
    -- In one order, so that two sessions with the same checks cannot wait for each other in a circle.
    order by given.id
    on conflict do nothing;
    get diagnostics inserted = row_count;
    return jsonb_build_object('inserted', inserted);
end
$$;

COMMENT ON FUNCTION public.create_health_checks(checks json) IS 'Stores an array of checks; says how many were new, rows with known ids are left as they are.';

CREATE FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    deleted bigint;
begin
    with expired as materialized (
        select event.id, event.created_at
        from public.alert_events as event
        where event.status = 'resolved'
            and event.created_at < cutoff
            and coalesce(event.resolved_at, event.created_at) < cutoff
        order by event.created_at
        limit max_rows
        for update skip locked
    )
    delete from public.alert_events as event
    using expired
    where event.id = expired.id
        and event.created_at = expired.created_at;
    get diagnostics deleted = row_count;
    return to_jsonb(deleted);
end
$$;

COMMENT ON FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer) IS 'Deletes at most max_rows events that were resolved before the cutoff, never an active one.';

CREATE FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    deleted bigint;
begin
    -- Skipping locked rows lets several janitors work side by side.
    with expired as materialized (
        select old_check.id, old_check.created_at
        from public.service_health_checks as old_check
        where old_check.created_at < cutoff
        order by old_check.created_at
        limit max_rows
        for update skip locked
    )
    delete from public.service_health_checks as old_check
    using expired
    where old_check.id = expired.id
        and old_check.created_at = expired.created_at;
    get diagnostics deleted = row_count;
    return to_jsonb(deleted);
end
$$;

COMMENT ON FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer) IS 'Deletes at most max_rows checks that arrived before the cutoff; says how many.';

CREATE FUNCTION public.find_active_alert_events(service_name text DEFAULT NULL::text, after_created_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, after_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.created_at, page.id), '[]')
        from (
            select event.*
            from public.alert_events as event
            where event.status = 'active'
                and (find_active_alert_events.service_name is null
                    or event.service_name = find_active_alert_events.service_name)
                and (event.created_at, event.id) > (after_created_at, after_id)
            order by event.created_at, event.id
            limit max_rows
        ) as page
    );
end
$$;

COMMENT ON FUNCTION public.find_active_alert_events(service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) IS 'Active alert events, oldest first; the next page comes after the last row''s (created_at, id).';

CREATE FUNCTION public.find_alert_event(id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select to_jsonb(event)
        from public.alert_events as event
        where event.id = find_alert_event.id
    );
end
$$;

COMMENT ON FUNCTION public.find_alert_event(id uuid) IS 'The alert event with this id, or null.';

CREATE FUNCTION public.find_alert_events(service_name text, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, status text DEFAULT NULL::text, before_created_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, max_rows integer DEFAULT 100) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(
            jsonb_agg(to_jsonb(page) order by page.created_at desc, page.id desc), '[]'
        )
        from (
            select event.*
            from public.alert_events as event
            where event.service_name = find_alert_events.service_name
                and event.created_at >= since
                and event.created_at < until
                and (find_alert_events.status is null or event.status = find_alert_events.status)
                and (event.created_at, event.id) < (before_created_at, before_id)
            order by event.created_at desc, event.id desc
            limit max_rows
        ) as page
    );
end
$$;

COMMENT ON FUNCTION public.find_alert_events(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) IS 'Alert events of one service, newest first, within [since, until); the next page comes before the last row''s (created_at, id).';

CREATE FUNCTION public.find_health_check(id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select to_jsonb(found_check)
        from public.service_health_checks as found_check
        where found_check.id = find_health_check.id
    );
end
$$;

COMMENT ON FUNCTION public.find_health_check(id uuid) IS 'The check with this id, or null.';

CREATE FUNCTION public.find_health_checks(service_name text, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, status text DEFAULT NULL::text, before_checked_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, max_rows integer DEFAULT 100) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(
            jsonb_agg(to_jsonb(page) order by page.checked_at desc, page.id desc), '[]'
        )
        from (
            select found_check.*
            from public.service_health_checks as found_check
            where found_check.service_name = find_health_checks.service_name
                and found_check.checked_at >= since
                and found_check.checked_at < until
                and (find_health_checks.status is null
                    or found_check.status = find_health_checks.status)
                and (found_check.checked_at, found_check.id) < (before_checked_at, before_id)
            order by found_check.checked_at desc, found_check.id desc
            limit max_rows
        ) as page
    );
end
$$;

COMMENT ON FUNCTION public.find_health_checks(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_checked_at timestamp with time zone, before_id uuid, max_rows integer) IS 'Checks of one service, newest first, within [since, until); the next page comes before the last row''s (checked_at, id).';

CREATE FUNCTION public.find_latest_health_checks(service_name text DEFAULT NULL::text, after_service_name text DEFAULT NULL::text, stale_after_seconds double precision DEFAULT 300, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        -- A loose index scan: one step for each service, however many rows it has.
        with recursive services (name) as (
            -- Three cases, not one condition: a plan that is kept for all of them scans the table.
            select case
                when find_latest_health_checks.service_name is not null
                    then find_latest_health_checks.service_name
                when after_service_name is not null then (
                    select first_check.service_name::text
                    from public.service_health_checks as first_check
                    where first_check.service_name > after_service_name
                    order by first_check.service_name
                    limit 1
                )
                else (
                    select first_check.service_name::text
                    from public.service_health_checks as first_check
                    order by first_check.service_name
                    limit 1
                )
            end
            union all
            select (
                select next_check.service_name::text
                from public.service_health_checks as next_check
                where next_check.service_name > services.name
                order by next_check.service_name
                limit 1
            )
            from services
            where services.name is not null
                and find_latest_health_checks.service_name is null
        )
        select coalesce(
            jsonb_agg(
                to_jsonb(latest) || jsonb_build_object(
                    'age_seconds', latest.age_seconds,
                    'is_stale', latest.age_seconds > stale_after_seconds
                )
                order by latest.service_name
            ),
            '[]'
        )
        from (
            select
                newest.*,
                greatest(
                    0, extract(epoch from statement_timestamp() - newest.checked_at)
                ) as age_seconds
            from services
            cross join lateral (
                select found_check.*
                from public.service_health_checks as found_check
                where found_check.service_name = services.name
                order by found_check.checked_at desc, found_check.id desc
                limit 1
            ) as newest
            limit max_rows
        ) as latest
    );
end
$$;

COMMENT ON FUNCTION public.find_latest_health_checks(service_name text, after_service_name text, stale_after_seconds double precision, max_rows integer) IS 'The newest check of every service (or of one), with its age and whether it is stale.';

CREATE FUNCTION public.find_monitor_services(id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select jsonb_build_object(
            'digest', monitor.services_digest,
            'services', translate(encode(monitor.services, 'base64'), E'\n', '')
        )
        from public.monitors as monitor
        where monitor.id = find_monitor_services.id
            and monitor.services is not null
    );
end
$$;

COMMENT ON FUNCTION public.find_monitor_services(id uuid) IS 'The digest and the hashes of the services that a monitor watches, or null.';

CREATE FUNCTION public.find_monitors(include_gone boolean DEFAULT true) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', known.id,
                    'name', known.name,
                    'location', known.location,
                    'version', known.version,
                    'heartbeat_interval_seconds', known.heartbeat_interval_seconds,
                    'started_at', known.started_at,
                    'last_seen_at', known.last_seen_at,
                    'gone_at', known.gone_at,
                    'age_seconds', known.age_seconds,
                    'is_silent', known.age_seconds > 2.5 * known.heartbeat_interval_seconds,
                    'service_count', known.service_count,
                    'services_digest', known.services_digest
                )
                order by known.started_at, known.id
            ),
            '[]'
        )
        from (
            select
                monitor.*,
                greatest(
                    0, extract(epoch from statement_timestamp() - monitor.last_seen_at)
                ) as age_seconds
            from public.monitors as monitor
            where include_gone or monitor.gone_at is null
        ) as known
    );
end
$$;

COMMENT ON FUNCTION public.find_monitors(include_gone boolean) IS 'The monitors, oldest first, with the seconds since each was seen; without those that are gone, if that is asked.';

CREATE FUNCTION public.publish_monitor_services(id uuid, digest text, services text) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    hashes constant bytea := decode(services, 'base64');
begin
    update public.monitors as own
    set services = hashes,
        services_digest = digest,
        service_count = octet_length(hashes) / 8
    where own.id = publish_monitor_services.id;
    return to_jsonb(found);
end
$$;

COMMENT ON FUNCTION public.publish_monitor_services(id uuid, digest text, services text) IS 'Stores which services a monitor watches, as hashes of 8 bytes in base64; false without a row.';

CREATE FUNCTION public.remove_monitor(id uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
    delete from public.monitors as leaving
    where leaving.id = remove_monitor.id;
    return to_jsonb(found);
end
$$;

COMMENT ON FUNCTION public.remove_monitor(id uuid) IS 'Removes the row of a monitor that ends; says whether there was one.';

CREATE FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    resolved public.alert_events;
begin
    update public.alert_events as event
    set status = 'resolved',
        resolved_at = coalesce(resolve_alert_event.resolved_at, current_timestamp)
    where event.id = resolve_alert_event.id
        and event.status = 'active'
    returning * into resolved;
    if found then
        return to_jsonb(resolved);
    end if;
    return public.find_alert_event(resolve_alert_event.id);
end
$$;

COMMENT ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone) IS 'Resolves an active event and returns its row; a resolved one is returned as it is.';

REVOKE ALL ON FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text, location text, was_cut_off boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text, location text, was_cut_off boolean) TO service_role;

REVOKE ALL ON FUNCTION public.count_health_checks_by_status(service_name text, since timestamp with time zone, until timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.count_health_checks_by_status(service_name text, since timestamp with time zone, until timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.create_health_check(service_name text, status text, latency_ms integer, checked_at timestamp with time zone, probe_details jsonb, id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_health_check(service_name text, status text, latency_ms integer, checked_at timestamp with time zone, probe_details jsonb, id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.create_health_checks(checks json) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_health_checks(checks json) TO service_role;

REVOKE ALL ON FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_active_alert_events(service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_active_alert_events(service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_event(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_event(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_events(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_events(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_health_check(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_health_check(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_health_checks(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_checked_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_health_checks(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_checked_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_latest_health_checks(service_name text, after_service_name text, stale_after_seconds double precision, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_latest_health_checks(service_name text, after_service_name text, stale_after_seconds double precision, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_monitor_services(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_monitor_services(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_monitors(include_gone boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_monitors(include_gone boolean) TO service_role;

REVOKE ALL ON FUNCTION public.publish_monitor_services(id uuid, digest text, services text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_monitor_services(id uuid, digest text, services text) TO service_role;

REVOKE ALL ON FUNCTION public.remove_monitor(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.remove_monitor(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_events TO service_role;

GRANT SELECT ON TABLE public.migrations TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitors TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service_health_checks TO service_role;
