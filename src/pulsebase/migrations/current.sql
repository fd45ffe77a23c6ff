-- The schema after all migrations, for reading. Generated: python -m tests.migration.schema
-- A database is never made from this file; pulsebase db migrate does that.

set local check_function_bodies = off;

CREATE TYPE public.alert_rules AS (
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

CREATE TABLE public.alert_silences (
    id uuid NOT NULL,
    kind text NOT NULL,
    name text,
    matcher jsonb NOT NULL,
    schedule jsonb,
    note text,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    lifted_at timestamp with time zone,
    lifted_by text,
    planned_until timestamp with time zone,
    CONSTRAINT alert_silences_kind_known CHECK ((kind = ANY (ARRAY['silence'::text, 'maintenance'::text]))),
    CONSTRAINT alert_silences_matcher_object CHECK ((jsonb_typeof(matcher) = 'object'::text)),
    CONSTRAINT alert_silences_matcher_small CHECK ((octet_length((matcher)::text) <= 65536)),
    CONSTRAINT alert_silences_name_readable CHECK (((name <> ''::text) AND (length(name) <= 100) AND (name !~ '[\u0001-\u001f\u007f-\u009f]'::text))),
    CONSTRAINT alert_silences_note_short CHECK ((length(note) <= 2000)),
    CONSTRAINT alert_silences_people_readable CHECK (((created_by <> ''::text) AND (length(created_by) <= 100) AND (created_by !~ '[\u0001-\u001f\u007f-\u009f]'::text) AND (length(lifted_by) <= 100))),
    CONSTRAINT alert_silences_schedule_object CHECK ((jsonb_typeof(schedule) = 'object'::text)),
    CONSTRAINT alert_silences_schedule_small CHECK ((octet_length((schedule)::text) <= 4096))
);

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

CREATE TABLE public.alert_channels (
    name text NOT NULL,
    is_published boolean DEFAULT true NOT NULL,
    group_window_seconds double precision DEFAULT 10 NOT NULL,
    rate_limit integer,
    rate_period_seconds double precision,
    remind_every_seconds double precision,
    give_up_after_seconds double precision DEFAULT 86400 NOT NULL,
    refusals_in_a_row integer DEFAULT 0 NOT NULL,
    disabled_at timestamp with time zone,
    disabled_reason text,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT alert_channels_durations_positive CHECK (((group_window_seconds >= (0)::double precision) AND (rate_limit > 0) AND (rate_period_seconds > (0)::double precision) AND (remind_every_seconds > (0)::double precision) AND (give_up_after_seconds > (0)::double precision))),
    CONSTRAINT alert_channels_name_readable CHECK (((name <> ''::text) AND (length(name) <= 100) AND (name !~ '[\u0001-\u001f\u007f-\u009f]'::text)))
);

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

CREATE TABLE public.service_states (
    service_name character varying(100) NOT NULL,
    status text DEFAULT 'healthy'::text NOT NULL,
    since timestamp with time zone,
    is_steady boolean DEFAULT true NOT NULL,
    last_checked_at timestamp with time zone,
    last_check_id uuid,
    evaluated_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    tracks jsonb DEFAULT '{}'::jsonb NOT NULL,
    incident_id uuid,
    event_id uuid,
    first_failed jsonb,
    last_failed jsonb,
    changed_at timestamp with time zone[] DEFAULT '{}'::timestamp with time zone[] NOT NULL,
    flapping_since timestamp with time zone,
    flapping_incident_id uuid,
    flapping_event_id uuid,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT service_states_incident_while_unhealthy CHECK (((status = 'healthy'::text) = (incident_id IS NULL))),
    CONSTRAINT service_states_status_known CHECK ((status = ANY (ARRAY['healthy'::text, 'degraded'::text, 'down'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.alert_acts (
    id uuid NOT NULL,
    act text NOT NULL,
    actor text NOT NULL,
    acted_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    service_name character varying(100),
    event_id uuid,
    silence_id uuid,
    message_id uuid,
    channel text,
    until timestamp with time zone,
    note text,
    CONSTRAINT alert_acts_act_known CHECK ((act = ANY (ARRAY['acknowledge'::text, 'unacknowledge'::text, 'resolve'::text, 'silence'::text, 'maintenance'::text, 'lift'::text, 'replay'::text, 'enable_channel'::text, 'disable_channel'::text]))),
    CONSTRAINT alert_acts_actor_readable CHECK (((actor <> ''::text) AND (length(actor) <= 100) AND (actor !~ '[\u0001-\u001f\u007f-\u009f]'::text))),
    CONSTRAINT alert_acts_note_short CHECK ((length(note) <= 2000))
);

CREATE TABLE public.alert_messages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    channel text NOT NULL,
    service_name character varying(100),
    status text DEFAULT 'pending'::text NOT NULL,
    delivery_count integer NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    give_up_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    leased_by uuid,
    leased_until timestamp with time zone,
    finished_at timestamp with time zone,
    last_error text,
    awaits_reminders boolean DEFAULT false NOT NULL,
    CONSTRAINT alert_messages_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'sending'::text, 'delivered'::text, 'dead'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.alert_deliveries (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(100) NOT NULL,
    incident_id uuid NOT NULL,
    event_id uuid NOT NULL,
    channel text NOT NULL,
    kind text NOT NULL,
    sequence integer DEFAULT 0 NOT NULL,
    is_escalation boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    held_by text,
    held_since timestamp with time zone,
    released_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    cancelled_because text,
    message_id uuid,
    CONSTRAINT alert_deliveries_kind_known CHECK ((kind = ANY (ARRAY['opened'::text, 'resolved'::text, 'reminder'::text, 'flapping_started'::text, 'flapping_ended'::text])))
);

CREATE TABLE public.alert_message_attempts (
    message_id uuid NOT NULL,
    attempt integer NOT NULL,
    worker uuid NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    outcome text,
    error text,
    CONSTRAINT alert_message_attempts_outcome_known CHECK ((outcome = ANY (ARRAY['delivered'::text, 'failed'::text, 'refused'::text])))
);

CREATE TABLE public.alert_policies (
    "position" integer NOT NULL,
    matcher jsonb,
    alert_policy jsonb NOT NULL,
    CONSTRAINT alert_policies_alert_policy_object CHECK ((jsonb_typeof(alert_policy) = 'object'::text)),
    CONSTRAINT alert_policies_matcher_object CHECK ((jsonb_typeof(matcher) = 'object'::text))
);

CREATE TABLE public.alert_routes (
    "position" integer NOT NULL,
    channels text[] NOT NULL,
    matcher jsonb,
    alert_types text[],
    hours jsonb,
    after_seconds double precision DEFAULT 0 NOT NULL,
    CONSTRAINT alert_routes_after_not_negative CHECK ((after_seconds >= (0)::double precision)),
    CONSTRAINT alert_routes_hours_object CHECK ((jsonb_typeof(hours) = 'object'::text)),
    CONSTRAINT alert_routes_matcher_object CHECK ((jsonb_typeof(matcher) = 'object'::text))
);

CREATE TABLE public.alert_silence_periods (
    silence_id uuid NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone,
    CONSTRAINT alert_silence_periods_end_after_start CHECK ((ends_at > starts_at))
);

CREATE TABLE public.migrations (
    id text NOT NULL,
    name text NOT NULL,
    checksum text,
    executed_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    duration_ms bigint
);

CREATE TABLE public.monitored_services (
    service_name character varying(100) NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    depends_on text[] DEFAULT '{}'::text[] NOT NULL,
    interval_seconds double precision,
    alert_policy jsonb,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT monitored_services_alert_policy_object CHECK ((jsonb_typeof(alert_policy) = 'object'::text)),
    CONSTRAINT monitored_services_interval_positive CHECK ((interval_seconds > (0)::double precision)),
    CONSTRAINT monitored_services_labels_object CHECK ((jsonb_typeof(labels) = 'object'::text))
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

ALTER TABLE ONLY public.monitors ALTER COLUMN services SET STORAGE EXTERNAL;

COMMENT ON TABLE public.monitors IS 'The running monitors, one row each; kept up by their beats.';

ALTER TABLE ONLY public.alert_acts
    ADD CONSTRAINT alert_acts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alert_channels
    ADD CONSTRAINT alert_channels_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.alert_deliveries
    ADD CONSTRAINT alert_deliveries_pkey PRIMARY KEY (id);

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_created_at_present CHECK ((created_at IS NOT NULL)) NOT VALID;

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_details_small_object CHECK (((jsonb_typeof(details) = 'object'::text) AND (octet_length((details)::text) <= 65536))) NOT VALID;

ALTER TABLE ONLY public.alert_events
    ADD CONSTRAINT alert_events_pkey PRIMARY KEY (id);

ALTER TABLE public.alert_events
    ADD CONSTRAINT alert_events_service_name_readable CHECK ((((service_name)::text <> ''::text) AND ((service_name)::text !~ '[\u0001-\u001f\u007f-\u009f]'::text))) NOT VALID;

ALTER TABLE ONLY public.alert_message_attempts
    ADD CONSTRAINT alert_message_attempts_pkey PRIMARY KEY (message_id, attempt);

ALTER TABLE ONLY public.alert_messages
    ADD CONSTRAINT alert_messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alert_policies
    ADD CONSTRAINT alert_policies_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY public.alert_routes
    ADD CONSTRAINT alert_routes_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY public.alert_silence_periods
    ADD CONSTRAINT alert_silence_periods_pkey PRIMARY KEY (silence_id, starts_at);

ALTER TABLE ONLY public.alert_silences
    ADD CONSTRAINT alert_silences_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.monitored_services
    ADD CONSTRAINT monitored_services_pkey PRIMARY KEY (service_name);

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

ALTER TABLE ONLY public.service_states
    ADD CONSTRAINT service_states_pkey PRIMARY KEY (service_name);

CREATE INDEX idx_alert_acts_acted_at ON public.alert_acts USING btree (acted_at, id);

CREATE INDEX idx_alert_acts_event_id ON public.alert_acts USING btree (event_id, acted_at);

CREATE INDEX idx_alert_deliveries_created_at ON public.alert_deliveries USING btree (created_at);

CREATE INDEX idx_alert_deliveries_incident ON public.alert_deliveries USING btree (incident_id, channel);

CREATE INDEX idx_alert_deliveries_message ON public.alert_deliveries USING btree (message_id);

CREATE UNIQUE INDEX idx_alert_deliveries_once ON public.alert_deliveries USING btree (event_id, channel, kind, sequence);

CREATE INDEX idx_alert_deliveries_waiting ON public.alert_deliveries USING btree (channel, due_at) WHERE ((message_id IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX idx_alert_events_created_at ON public.alert_events USING btree (created_at);

CREATE UNIQUE INDEX idx_alert_events_one_active ON public.alert_events USING btree (service_name, alert_type) WHERE (status = 'active'::text);

CREATE INDEX idx_alert_events_service_created ON public.alert_events USING btree (service_name, created_at, id);

CREATE INDEX idx_alert_events_service_name ON public.alert_events USING btree (service_name);

CREATE INDEX idx_alert_events_status ON public.alert_events USING btree (status);

CREATE INDEX idx_alert_messages_awaits_reminders ON public.alert_messages USING btree (channel, finished_at) WHERE awaits_reminders;

CREATE INDEX idx_alert_messages_channel ON public.alert_messages USING btree (channel, created_at, id);

CREATE INDEX idx_alert_messages_created_at ON public.alert_messages USING btree (created_at, id);

CREATE INDEX idx_alert_messages_unfinished ON public.alert_messages USING btree (channel, created_at) WHERE (status = ANY (ARRAY['pending'::text, 'sending'::text]));

CREATE INDEX idx_alert_silence_periods_ends_at ON public.alert_silence_periods USING btree (ends_at);

CREATE INDEX idx_alert_silences_created_at ON public.alert_silences USING btree (created_at, id);

CREATE UNIQUE INDEX idx_alert_silences_name ON public.alert_silences USING btree (name) WHERE ((lifted_at IS NULL) AND (name IS NOT NULL));

CREATE INDEX idx_service_health_checks_created_at ON public.service_health_checks USING btree (created_at);

CREATE INDEX idx_service_health_checks_service_checked ON public.service_health_checks USING btree (service_name, checked_at, id);

CREATE INDEX idx_service_health_checks_service_created ON public.service_health_checks USING btree (service_name, created_at);

CREATE INDEX idx_service_health_checks_service_name ON public.service_health_checks USING btree (service_name);

CREATE INDEX idx_service_states_unsteady ON public.service_states USING btree (service_name) WHERE (NOT is_steady);

ALTER TABLE public.alert_acts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_channels ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_message_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_policies ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_routes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_silence_periods ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.alert_silences ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.migrations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.monitored_services ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.monitors ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.service_health_checks ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.service_states ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION public.acknowledge_alert_event(id uuid, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, until timestamp with time zone DEFAULT NULL::timestamp with time zone, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.acknowledge_alert_event(id uuid, actor text, note text, until timestamp with time zone, act_id uuid) IS 'Says that somebody has seen an active event, which silences its reminders until then; returns the event.';

CREATE FUNCTION public.alert_policy_of(service_name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.alert_policy_of(service_name text) IS 'The policy of a service: the built-in one, then those that match it in their order, then its own, key by key.';

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

CREATE FUNCTION public.claim_alert_messages(worker uuid, channels text[], lease_seconds double precision DEFAULT 60, max_messages integer DEFAULT 100) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.claim_alert_messages(worker uuid, channels text[], lease_seconds double precision, max_messages integer) IS 'Makes messages of what these channels are owed, and lends those that may be sent to a worker.';

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
    loop
        insert into public.alert_events (id, service_name, alert_type, status, details, resolved_at)
        values (
            coalesce(id, gen_random_uuid()), service_name, alert_type, status, details,
            case when status = 'resolved' then current_timestamp end
        )
        on conflict do nothing
        returning * into stored;
        exit when found;
        -- The same call again, or one that somebody else made active before.
        select earlier.* into stored
        from public.alert_events as earlier
        where earlier.id = create_alert_event.id
            or (
                create_alert_event.status = 'active'
                and earlier.status = 'active'
                and earlier.service_name = create_alert_event.service_name
                and earlier.alert_type = create_alert_event.alert_type
            )
        order by earlier.id = create_alert_event.id desc nulls last
        limit 1;
        exit when found;
    end loop;
    return to_jsonb(stored);
end
$$;

COMMENT ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) IS 'Stores one alert event and returns its row; a repeated id returns the row that is there, and so does an active event of a service and type of which there is one.';

CREATE FUNCTION public.create_alert_silence(id uuid, matcher jsonb, kind text DEFAULT 'silence'::text, name text DEFAULT NULL::text, schedule jsonb DEFAULT NULL::jsonb, note text DEFAULT NULL::text, actor text DEFAULT NULL::text, periods jsonb DEFAULT NULL::jsonb, planned_until timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.create_alert_silence(id uuid, matcher jsonb, kind text, name text, schedule jsonb, note text, actor text, periods jsonb, planned_until timestamp with time zone) IS 'Stores a silence or maintenance window and returns it; one with the same id, or with the same name and rule, is returned as it is.';

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

CREATE FUNCTION public.delete_alert_messages_older_than(cutoff timestamp with time zone, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.delete_alert_messages_older_than(cutoff timestamp with time zone, max_rows integer) IS 'Deletes messages that were finished before the cutoff, and what else alerting left behind, at most max_rows of each; says how many rows.';

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

CREATE FUNCTION public.disable_alert_channel(name text, actor text DEFAULT NULL::text, reason text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.disable_alert_channel(name text, actor text, reason text, act_id uuid) IS 'Sends nothing to a channel until it is enabled, and returns it; what it is owed waits.';

CREATE FUNCTION public.enable_alert_channel(name text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.enable_alert_channel(name text, actor text, note text, act_id uuid) IS 'Lets a disabled channel be sent to again and returns it; what it is owed has waited.';

CREATE FUNCTION public.evaluate_health_checks(checks jsonb DEFAULT NULL::jsonb) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
    handed record;
    evaluated bigint := 0;
begin
    if jsonb_typeof(checks) = 'string' then
        checks := (checks #>> '{}')::jsonb;
    end if;
    if checks is not null then
        for handed in
            select one.service_name, jsonb_object_agg(one.id, true) as new_ids
            from jsonb_to_recordset(checks) as one (service_name text, id uuid)
            where one.id is not null
            group by one.service_name
            -- In one order, so that two writers cannot wait for each other in a circle.
            order by one.service_name collate "C"
        loop
            evaluated := evaluated + public.pulsebase_evaluate_service(handed.service_name, handed.new_ids);
        end loop;
        return jsonb_build_object('evaluated', evaluated);
    end if;
    -- Checks that were committed while another session decided: neither saw the other.
    for handed in
        select state.service_name
        from public.service_states as state
        where not state.is_steady
            and exists (
                select
                from public.service_health_checks as unseen
                where unseen.service_name = state.service_name
                    and (unseen.checked_at, unseen.id)
                        > (
                            coalesce(state.last_checked_at, '-infinity'),
                            coalesce(
                                state.last_check_id, '00000000-0000-0000-0000-000000000000'
                            )
                        )
                    and isfinite(unseen.checked_at)
            )
        order by state.service_name collate "C"
    loop
        perform
        from public.service_states as state
        where state.service_name = handed.service_name
        for update skip locked;
        if found then
            evaluated := evaluated + public.pulsebase_evaluate_service(handed.service_name);
        end if;
    end loop;
    return jsonb_build_object('evaluated', evaluated);
end
$$;

COMMENT ON FUNCTION public.evaluate_health_checks(checks jsonb) IS 'Evaluates stored checks, given as rows with service_name and id, service by service; without any, those of services in trouble that nobody has evaluated yet. Says how many they were.';

CREATE FUNCTION public.evaluate_new_checks() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
    handed record;
begin
    -- The common case first, without a look at single services: all is well, and was.
    if not exists (select from new_checks where new_checks.status <> 'healthy')
        and not exists (select from public.service_states as state where not state.is_steady)
    then
        return null;
    end if;
    for handed in
        select
            named.service_name,
            (
                select jsonb_object_agg(arrived.id, true)
                from unnest(named.ids) as arrived (id)
            ) as new_ids
        from (
            select
                arrived.service_name,
                bool_or(arrived.status <> 'healthy') as has_failed,
                array_agg(arrived.id) as ids
            from new_checks as arrived
            group by arrived.service_name
        ) as named
        where named.has_failed
            -- A session keeps the plan of its first statement, be that one row or ten thousand:
            -- this one, unlike "exists" or a join, is a look into the index for each service.
            or (
                select true
                from public.service_states as state
                where state.service_name = named.service_name
                    and not state.is_steady
            )
        -- In one order, so that two writers cannot wait for each other in a circle.
        order by named.service_name collate "C"
    loop
        perform public.pulsebase_evaluate_service(handed.service_name, handed.new_ids);
    end loop;
    return null;
end
$$;

COMMENT ON FUNCTION public.evaluate_new_checks() IS 'Hands new checks over to evaluation, those of services that are not well or were not.';

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

CREATE FUNCTION public.find_alert_acknowledgements(service_name text DEFAULT NULL::text, after_event_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_acknowledgements(service_name text, after_event_id uuid, max_rows integer) IS 'The acknowledgements of active events that hold now, by the event''s id; the next page comes after the last row''s.';

CREATE FUNCTION public.find_alert_acts(event_id uuid DEFAULT NULL::uuid, silence_id uuid DEFAULT NULL::uuid, message_id uuid DEFAULT NULL::uuid, channel text DEFAULT NULL::text, service_name text DEFAULT NULL::text, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_acted_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, max_rows integer DEFAULT 100) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_acts(event_id uuid, silence_id uuid, message_id uuid, channel text, service_name text, since timestamp with time zone, until timestamp with time zone, before_acted_at timestamp with time zone, before_id uuid, max_rows integer) IS 'Acts, newest first, within [since, until); the next page comes before the last row''s (acted_at, id).';

CREATE FUNCTION public.find_alert_channels() RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_channels() IS 'All channels by name, with how much each is owed and how many of its messages are unfinished.';

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

CREATE FUNCTION public.find_alert_message(id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_message(id uuid) IS 'The message with this id, with its attempts and what it tells; or null.';

CREATE FUNCTION public.find_alert_messages(status text DEFAULT NULL::text, channel text DEFAULT NULL::text, service_name text DEFAULT NULL::text, before_created_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, max_rows integer DEFAULT 100) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_messages(status text, channel text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) IS 'Messages, newest first; the next page comes before the last row''s (created_at, id).';

CREATE FUNCTION public.find_alert_silence(id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select public.pulsebase_alert_silence_row(silence, clock_timestamp())
        from public.alert_silences as silence
        where silence.id = find_alert_silence.id
    );
end
$$;

COMMENT ON FUNCTION public.find_alert_silence(id uuid) IS 'The silence with this id, or null.';

CREATE FUNCTION public.find_alert_silences(which text DEFAULT 'active'::text, service_name text DEFAULT NULL::text, before_created_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, before_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_silences(which text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) IS 'Silences that hold now (active), that hold or will (open), or all, of one service or of all; newest first, the next page comes before the last row''s (created_at, id).';

CREATE FUNCTION public.find_alert_silences_to_plan(horizon_seconds double precision, after_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_alert_silences_to_plan(horizon_seconds double precision, after_id uuid, max_rows integer) IS 'The silences by schedule whose periods are written down for less than the horizon.';

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

CREATE FUNCTION public.find_monitored_services(service_name text DEFAULT NULL::text, after_service_name text DEFAULT NULL::text, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_monitored_services(service_name text, after_service_name text, max_rows integer) IS 'What configurations say of services, by name; the next page comes after the last row''s name.';

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

CREATE FUNCTION public.find_service_states(service_name text DEFAULT NULL::text, after_service_name text DEFAULT NULL::text, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(jsonb_agg(to_jsonb(page) order by page.service_name), '[]')
        from (
            select
                known.service_name, known.status, known.since, known.is_steady,
                known.last_checked_at, known.tracks, known.incident_id, known.event_id,
                known.first_failed, known.last_failed, known.changed_at, known.flapping_since,
                known.updated_at
            from public.service_states as known
            where (find_service_states.service_name is null
                    or known.service_name = find_service_states.service_name)
                and (after_service_name is null or known.service_name > after_service_name)
            order by known.service_name
            limit max_rows
        ) as page
    );
end
$$;

COMMENT ON FUNCTION public.find_service_states(service_name text, after_service_name text, max_rows integer) IS 'What has been decided of services, by name; the next page comes after the last row''s name.';

CREATE FUNCTION public.find_waiting_deliveries(channel text DEFAULT NULL::text, service_name text DEFAULT NULL::text, after_created_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, after_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid, max_rows integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.find_waiting_deliveries(channel text, service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) IS 'What is owed and in no message yet, oldest first, with what holds it now; the next page comes after the last row''s (created_at, id).';

CREATE FUNCTION public.finish_alert_message(id uuid, attempt integer, outcome text, error text DEFAULT NULL::text, retry_after_seconds double precision DEFAULT NULL::double precision) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.finish_alert_message(id uuid, attempt integer, outcome text, error text, retry_after_seconds double precision) IS 'Takes the report of an attempt, and says what becomes of the message; a report that comes too late is kept, and counts if the message arrived.';

CREATE FUNCTION public.lift_alert_silence(id uuid DEFAULT NULL::uuid, name text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.lift_alert_silence(id uuid, name text, actor text, note text, act_id uuid) IS 'Ends a silence, by its id or name, and returns it; one that is lifted is returned as it is.';

CREATE FUNCTION public.plan_alert_silence(id uuid, periods jsonb, planned_until timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.plan_alert_silence(id uuid, periods jsonb, planned_until timestamp with time zone) IS 'Writes down more periods of a silence by schedule, complete up to planned_until; returns it.';

CREATE FUNCTION public.publish_alert_channels(channels json, routes json) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
    is_rerouted := public.pulsebase_replace_alert_routes(routes::jsonb);
    return jsonb_build_object(
        'changed', changed, 'unpublished', unpublished, 'is_rerouted', is_rerouted
    );
end
$$;

COMMENT ON FUNCTION public.publish_alert_channels(channels json, routes json) IS 'Makes these the channels and routes; a channel that is missing is told nothing new, and one that is disabled stays so.';

CREATE FUNCTION public.publish_alert_policies(policies jsonb) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.publish_alert_policies(policies jsonb) IS 'Replaces the policies by an array of {matcher, alert_policy}, in their order.';

CREATE FUNCTION public.publish_maintenance_windows(windows jsonb, actor text) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.publish_maintenance_windows(windows jsonb, actor text) IS 'Makes the maintenance windows that an actor publishes be these and no others, by their names.';

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

CREATE FUNCTION public.publish_monitored_services(services jsonb) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.publish_monitored_services(services jsonb) IS 'Stores what a configuration says of services; says how many were new or differ.';

CREATE FUNCTION public.pulsebase_alert_policy_problem(policy jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
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
$_$;

COMMENT ON FUNCTION public.pulsebase_alert_policy_problem(policy jsonb) IS 'What is wrong with a policy, in a sentence; null when nothing is.';

CREATE FUNCTION public.pulsebase_alert_reason(probe_details jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
    failed constant jsonb := probe_details -> 'failed';
begin
    return left(
        coalesce(
            probe_details #>> '{error,message}',
            case
                when jsonb_typeof(failed) = 'object' and failed ? 'expectation' then format(
                    '%s: expected %s, got %s',
                    failed ->> 'expectation', failed ->> 'expected', failed ->> 'got'
                )
            end,
            probe_details ->> 'reason',
            probe_details ->> 'message',
            probe_details ->> 'error',
            'no reason given'
        ),
        500
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_alert_reason(probe_details jsonb) IS 'Why a check was not healthy, by its details.';

CREATE FUNCTION public.pulsebase_alert_rules_of(policy jsonb) RETURNS public.alert_rules
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_alert_rules_of(policy jsonb) IS 'A policy read into its rules; what is missing or out of bounds has the built-in value.';

CREATE FUNCTION public.pulsebase_alert_silence_row(silence public.alert_silences, moment timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_alert_silence_row(silence public.alert_silences, moment timestamp with time zone) IS 'A silence with the period that holds now, else the next one, else the last one.';

CREATE FUNCTION public.pulsebase_assert_route_hours(hours jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_assert_route_hours(hours jsonb) IS 'Raises 22023 where a route has no proper hours.';

CREATE FUNCTION public.pulsebase_begins_opening(track jsonb, counts_down_only boolean, checked_at timestamp with time zone, open_checks integer, open_of integer, open_seconds double precision) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    streak constant integer :=
        (track ->> case when counts_down_only then 'down_streak' else 'failing_streak' end)::integer;
    streak_since constant timestamptz :=
        (track ->> case when counts_down_only then 'down_since' else 'failing_since' end)::timestamptz;
    failed integer;
    failed_since timestamptz;
begin
    if streak = 0 then
        return null;
    end if;
    if open_seconds is not null then
        return case
            when checked_at >= streak_since + make_interval(secs => open_seconds) then streak_since
        end;
    end if;
    if open_of <= open_checks then
        return case when streak >= open_checks then streak_since end;
    end if;
    select count(*), min((newest.one ->> 'at')::timestamptz)
    into failed, failed_since
    from jsonb_array_elements(track -> 'window') with ordinality as newest (one, position)
    where newest.position > jsonb_array_length(track -> 'window') - open_of
        and case
            when counts_down_only then newest.one ->> 'status' = 'down'
            else newest.one ->> 'status' <> 'healthy'
        end;
    return case
        when failed >= open_checks then failed_since
        -- The window remembers only what came since its policy was published.
        when streak >= open_checks then streak_since
    end;
end
$$;

COMMENT ON FUNCTION public.pulsebase_begins_opening(track jsonb, counts_down_only boolean, checked_at timestamp with time zone, open_checks integer, open_of integer, open_seconds double precision) IS 'Since when a track has failed, if it has failed often or long enough to open; else null.';

CREATE FUNCTION public.pulsebase_bounded_interval(seconds double precision) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO ''
    AS $$
begin
    return make_interval(secs => least(greatest(seconds, 0), 3153600000));
end
$$;

COMMENT ON FUNCTION public.pulsebase_bounded_interval(seconds double precision) IS 'So many seconds, at most a hundred years: what somebody wrote by hand must not stop alerting.';

CREATE FUNCTION public.pulsebase_check_summary(found_check public.service_health_checks) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return jsonb_build_object(
        'id', found_check.id,
        'checked_at', found_check.checked_at,
        'status', found_check.status,
        'latency_ms', found_check.latency_ms,
        'location', left(found_check.probe_details ->> 'location', 100),
        'reason', case
            when found_check.status <> 'healthy'
                then public.pulsebase_alert_reason(found_check.probe_details)
        end
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_check_summary(found_check public.service_health_checks) IS 'What an event keeps of a check.';

CREATE FUNCTION public.pulsebase_close_alert_event(id uuid, resolved_at timestamp with time zone, details jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
    update public.alert_events as event
    set status = 'resolved',
        resolved_at = pulsebase_close_alert_event.resolved_at,
        details = public.pulsebase_details_with(event.details, pulsebase_close_alert_event.details)
    where event.id = pulsebase_close_alert_event.id
        -- Not by the index on status, under which thousands may be active.
        and event.status is not distinct from 'active';
end
$$;

COMMENT ON FUNCTION public.pulsebase_close_alert_event(id uuid, resolved_at timestamp with time zone, details jsonb) IS 'Resolves an active event, and says how.';

CREATE FUNCTION public.pulsebase_count_formed_messages(rules public.alert_channels, moment timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select count(*)
        from public.alert_messages as formed
        where formed.channel = rules.name
            and formed.created_at > moment - public.pulsebase_bounded_interval(rules.rate_period_seconds)
            and formed.created_at <= moment
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_count_formed_messages(rules public.alert_channels, moment timestamp with time zone) IS 'How many messages were made for a channel in the period of its rate before a moment.';

CREATE FUNCTION public.pulsebase_count_into_track(track jsonb, status text, checked_at timestamp with time zone, window_length integer) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    moment constant text := to_json(checked_at) #>> '{}';
    down_streak constant integer := case
        when status = 'down' then coalesce((track ->> 'down_streak')::integer, 0) + 1
        else 0
    end;
    failing_streak constant integer := case
        when status <> 'healthy' then coalesce((track ->> 'failing_streak')::integer, 0) + 1
        else 0
    end;
    up_streak constant integer := case
        when status <> 'down' then coalesce((track ->> 'up_streak')::integer, 0) + 1
        else 0
    end;
    healthy_streak constant integer := case
        when status = 'healthy' then coalesce((track ->> 'healthy_streak')::integer, 0) + 1
        else 0
    end;
    kept jsonb := '[]';
begin
    if window_length > 0 then
        kept := coalesce(track -> 'window', '[]')
            || jsonb_build_object('status', status, 'at', moment);
        while jsonb_array_length(kept) > window_length loop
            kept := kept - 0;
        end loop;
    end if;
    return jsonb_build_object(
        'verdict', coalesce(track ->> 'verdict', 'healthy'),
        'verdict_since', track -> 'verdict_since',
        'status', status,
        'last_checked_at', moment,
        'down_streak', down_streak,
        'down_since', case when down_streak > 1 then track ->> 'down_since' else moment end,
        'failing_streak', failing_streak,
        'failing_since', case when failing_streak > 1 then track ->> 'failing_since' else moment end,
        'up_streak', up_streak,
        'up_since', case when up_streak > 1 then track ->> 'up_since' else moment end,
        'healthy_streak', healthy_streak,
        'healthy_since', case when healthy_streak > 1 then track ->> 'healthy_since' else moment end,
        'window', kept
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_count_into_track(track jsonb, status text, checked_at timestamp with time zone, window_length integer) IS 'A track after one more check: its streaks, each with its beginning, and its window.';

CREATE FUNCTION public.pulsebase_decoded_json(value jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
    -- Some clients encode JSON twice.
    return case when jsonb_typeof(value) = 'string' then (value #>> '{}')::jsonb else value end;
end
$$;

COMMENT ON FUNCTION public.pulsebase_decoded_json(value jsonb) IS 'A JSON object or array that may be in a JSON text.';

CREATE FUNCTION public.pulsebase_default_alert_policy() RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
    select '{
        "enabled": true, "degraded_enabled": true,
        "down_open_checks": 3, "down_open_of": null, "down_open_seconds": null,
        "down_close_checks": 2,
        "degraded_open_checks": 3, "degraded_open_of": null, "degraded_open_seconds": null,
        "degraded_close_checks": 2,
        "locations_agree": 0, "location_fresh_seconds": 300,
        "flapping_changes": 6, "flapping_within_seconds": 3600
    }'::jsonb
$$;

COMMENT ON FUNCTION public.pulsebase_default_alert_policy() IS 'The policy of a service for which none is set.';

CREATE FUNCTION public.pulsebase_delete_old_acts(cutoff timestamp with time zone, max_rows integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_delete_old_acts(cutoff timestamp with time zone, max_rows integer) IS 'Deletes what people did before the cutoff, but for what concerns an active alert.';

CREATE FUNCTION public.pulsebase_delete_old_deliveries(cutoff timestamp with time zone, max_rows integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_delete_old_deliveries(cutoff timestamp with time zone, max_rows integer) IS 'Deletes what was dropped before the cutoff, or waits since then for a channel that is gone.';

CREATE FUNCTION public.pulsebase_delete_old_silences(cutoff timestamp with time zone, max_rows integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_delete_old_silences(cutoff timestamp with time zone, max_rows integer) IS 'Deletes periods that were over before the cutoff, and silences that were lifted or have none.';

CREATE FUNCTION public.pulsebase_describe_attempts(message_id uuid, before_attempt integer DEFAULT 2147483647) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_describe_attempts(message_id uuid, before_attempt integer) IS 'The attempts at a message, the first one first.';

CREATE FUNCTION public.pulsebase_describe_deliveries(message_id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_describe_deliveries(message_id uuid) IS 'What a message tells, in order, each with its alert event and how its service is now.';

CREATE FUNCTION public.pulsebase_describe_leased_messages(message_ids uuid[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_describe_leased_messages(message_ids uuid[]) IS 'Messages with everything that whoever sends them needs to know.';

CREATE FUNCTION public.pulsebase_details_resolved_by_person(event public.alert_events, first_failed jsonb, last_failed jsonb, resolved_at timestamp with time zone, actor text, note text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_details_resolved_by_person(event public.alert_events, first_failed jsonb, last_failed jsonb, resolved_at timestamp with time zone, actor text, note text) IS 'The details of an event that somebody resolves by hand.';

CREATE FUNCTION public.pulsebase_details_with(details jsonb, more jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
    own constant jsonb := case when jsonb_typeof(details) = 'object' then details else '{}' end;
begin
    -- An event that was made by hand may be full up to its bound.
    return case
        when octet_length((own || more)::text) <= 65536 then own || more
        else more
    end;
end
$$;

COMMENT ON FUNCTION public.pulsebase_details_with(details jsonb, more jsonb) IS 'The details of an event with more in them, within the bound of 64 KiB.';

CREATE FUNCTION public.pulsebase_drop_untold_deliveries(incident_id uuid, because text, moment timestamp with time zone) RETURNS TABLE(told_channel text, told_event_id uuid)
    LANGUAGE plpgsql ROWS 4
    SET search_path TO ''
    AS $$
begin
    -- One statement, and so one look: by the next one a parent could have recovered, and an opening
    -- would be neither dropped nor resolved.
    return query
    with openings as materialized (
        select opening.*
        from public.pulsebase_find_alert_openings(pulsebase_drop_untold_deliveries.incident_id, moment) as opening
    ),
    dropped as (
        update public.alert_deliveries as delivery
        set cancelled_at = moment,
            cancelled_because = because
        where delivery.incident_id = pulsebase_drop_untold_deliveries.incident_id
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
$$;

COMMENT ON FUNCTION public.pulsebase_drop_untold_deliveries(incident_id uuid, because text, moment timestamp with time zone) IS 'Drops what nobody will be told of an incident any more; returns the channels that were told and do not know its end, with the event that they know.';

CREATE FUNCTION public.pulsebase_end_flapping(state public.service_states, checked_at timestamp with time zone, rules public.alert_rules) RETURNS public.service_states
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
    if state.flapping_since is null
        or (rules.flapping_changes > 0 and checked_at < state.changed_at[1] + rules.flapping_within)
    then
        return state;
    end if;
    perform public.queue_alert_messages(
        'flapping_ended', state.service_name,
        coalesce(state.incident_id, state.flapping_incident_id),
        coalesce(state.event_id, state.flapping_event_id),
        state.flapping_event_id
    );
    state.flapping_since := null;
    state.flapping_incident_id := null;
    state.flapping_event_id := null;
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_end_flapping(state public.service_states, checked_at timestamp with time zone, rules public.alert_rules) IS 'The state after a check, by which the service may have kept still for long enough.';

CREATE FUNCTION public.pulsebase_evaluate_service(service_name text, new_ids jsonb DEFAULT NULL::jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    state public.service_states;
    newest public.service_health_checks;
    policy jsonb;
    rules public.alert_rules;
    after_at timestamptz;
    after_id uuid;
    evaluated bigint := 0;
    -- What is older is only stored: no duration can be taken from the first moments there are.
    earliest constant timestamptz := '4713-01-01 00:00:00+00 BC';
    latest constant timestamptz := clock_timestamp() + interval '5 minutes';
begin
    state := public.pulsebase_lock_service_state(service_name);
    if state.is_steady then
        state := public.pulsebase_state_after_quiet(state, new_ids);
    end if;
    after_at := state.last_checked_at;
    after_id := state.last_check_id;
    for newest in
        select known.*
        from public.service_health_checks as known
        where known.service_name = pulsebase_evaluate_service.service_name
            and known.checked_at >= after_at
            and (
                (known.checked_at, known.id) > (after_at, after_id)
                -- Checks of one transaction bear one time, and their ids any order.
                or (new_ids ? known.id::text and not known.id = any (state.evaluated_ids))
            )
            and known.checked_at between earliest and latest
        order by known.checked_at, known.id
    loop
        if evaluated = 0 then
            policy := public.alert_policy_of(service_name);
            rules := public.pulsebase_alert_rules_of(policy);
            if state.is_steady then
                state.tracks := public.pulsebase_quiet_tracks(newest, new_ids, rules.location_fresh);
            end if;
        end if;
        state := public.pulsebase_step_service(state, newest, rules, policy);
        evaluated := evaluated + 1;
    end loop;
    if evaluated > 0 then
        perform public.pulsebase_keep_service_state(state);
    end if;
    return evaluated;
end
$$;

COMMENT ON FUNCTION public.pulsebase_evaluate_service(service_name text, new_ids jsonb) IS 'Evaluates the stored checks of a service that nobody has evaluated yet; how many they were.';

CREATE FUNCTION public.pulsebase_find_acknowledgement(event_id uuid) RETURNS public.alert_acts
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_acknowledgement(event_id uuid) IS 'The acknowledgement of an event that holds now, or null.';

CREATE FUNCTION public.pulsebase_find_alert_openings(incident_id uuid, moment timestamp with time zone) RETURNS TABLE(delivery_id uuid, opened_event_id uuid, told_channel text, opening_kind text, queued_at timestamp with time zone, is_told boolean)
    LANGUAGE plpgsql STABLE ROWS 4
    SET search_path TO ''
    AS $$
declare
    -- `num_nulls`, here and below, since the planner must not take the index of all that waits for
    -- the few of an incident: in a storm it is full of what has just been sent.
    waiting constant uuid[] := array(
        select delivery.id
        from public.alert_deliveries as delivery
        where delivery.incident_id = pulsebase_find_alert_openings.incident_id
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
    left join public.pulsebase_find_hold_reasons(waiting, moment) as held on held.delivery_id = delivery.id
    where delivery.incident_id = pulsebase_find_alert_openings.incident_id
        and delivery.kind in ('opened', 'flapping_started', 'flapping_ended')
        and delivery.cancelled_at is null;
end
$$;

COMMENT ON FUNCTION public.pulsebase_find_alert_openings(incident_id uuid, moment timestamp with time zone) IS 'The openings of an incident on every channel, and whether each is told.';

CREATE FUNCTION public.pulsebase_find_due_deliveries(channel text, moment timestamp with time zone) RETURNS TABLE(delivery_id uuid, can_be_held boolean, is_marked_held boolean, ready_at timestamp with time zone)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_due_deliveries(channel text, moment timestamp with time zone) IS 'What a channel is owed by now, and whether a reason may hold it back; null where it is pointless.';

CREATE FUNCTION public.pulsebase_find_hold_reasons(delivery_ids uuid[], moment timestamp with time zone, as_kind text DEFAULT NULL::text) RETURNS TABLE(delivery_id uuid, hold_reason text)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET jit TO 'off'
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_hold_reasons(delivery_ids uuid[], moment timestamp with time zone, as_kind text) IS 'Why each of these deliveries would have to wait now; without a reason, or a row, it may go.';

CREATE FUNCTION public.pulsebase_find_muted_services(service_names text[], moment timestamp with time zone) RETURNS TABLE(muted_service text, is_maintenance boolean)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET jit TO 'off'
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_muted_services(service_names text[], moment timestamp with time zone) IS 'Which of these services a silence holds, or a maintenance window.';

CREATE FUNCTION public.pulsebase_find_next_due(channels text[], moment timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_next_due(channels text[], moment timestamp with time zone) IS 'When it is next worth claiming messages for these channels; null when nothing is in sight.';

CREATE FUNCTION public.pulsebase_find_ready_deliveries(channel text, moment timestamp with time zone) RETURNS TABLE(delivery_id uuid, ready_at timestamp with time zone)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return query
    select due.delivery_id, due.ready_at
    from public.pulsebase_find_due_deliveries(channel, moment) as due
    join public.alert_channels as known on known.name = pulsebase_find_ready_deliveries.channel
    where not due.can_be_held
        or (due.can_be_held and known.is_published and not due.is_marked_held);
end
$$;

COMMENT ON FUNCTION public.pulsebase_find_ready_deliveries(channel text, moment timestamp with time zone) IS 'What a channel is owed and nothing holds back, each with the moment since when.';

CREATE FUNCTION public.pulsebase_find_routed_channels(service_name text, alert_type text, moment timestamp with time zone) RETURNS TABLE(routed_channel text, delay_seconds double precision)
    LANGUAGE plpgsql STABLE ROWS 4
    SET search_path TO ''
    AS $$
declare
    labels constant jsonb := (
        select known.labels
        from public.monitored_services as known
        where known.service_name = pulsebase_find_routed_channels.service_name
    );
begin
    return query
    with fitting as materialized (
        select route.channels, route.after_seconds
        from public.alert_routes as route
        where (route.alert_types is null or alert_type = any (route.alert_types))
            and public.pulsebase_matches_service(route.matcher, service_name, labels)
            and public.pulsebase_hours_include(route.hours, moment)
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_routed_channels(service_name text, alert_type text, moment timestamp with time zone) IS 'The channels that are to be told of an alert, each with its delay; one that no route names is told everything.';

CREATE FUNCTION public.pulsebase_find_unfinished_messages(channels text[]) RETURNS TABLE(message_id uuid, has_to_wait boolean)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_find_unfinished_messages(channels text[]) IS 'The messages that are not finished; one waits for an earlier one of its channel that is about the same service, or if either is a digest.';

CREATE FUNCTION public.pulsebase_forget_trouble(service_name text, moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_forget_trouble(service_name text, moment timestamp with time zone) IS 'Makes the state of a service healthy, as if it had been looked at for the first time.';

CREATE FUNCTION public.pulsebase_form_alert_messages(channel text, moment timestamp with time zone, free uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_form_alert_messages(channel text, moment timestamp with time zone, free uuid[]) IS 'Makes messages of what a channel is owed, by its window and its rate.';

CREATE FUNCTION public.pulsebase_free_silence_name(name text, moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_free_silence_name(name text, moment timestamp with time zone) IS 'Takes a silence that is over as lifted, so that another one may have its name.';

CREATE FUNCTION public.pulsebase_give_up_alert_messages(moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_give_up_alert_messages(moment timestamp with time zone) IS 'Puts messages aside whose time is over.';

CREATE FUNCTION public.pulsebase_has_silence_periods(silence_id uuid, periods jsonb, is_scheduled boolean) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_has_silence_periods(silence_id uuid, periods jsonb, is_scheduled boolean) IS 'Whether a silence holds at these times, or by its schedule.';

CREATE FUNCTION public.pulsebase_hold_alert_deliveries(channel text, moment timestamp with time zone) RETURNS uuid[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_hold_alert_deliveries(channel text, moment timestamp with time zone) IS 'Brings up to date what holds the deliveries of a channel, and lets go what nothing holds: these.';

CREATE FUNCTION public.pulsebase_hours_include(hours jsonb, moment timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_hours_include(hours jsonb, moment timestamp with time zone) IS 'Whether a moment lies within hours of the day, on their days, by the clock of their zone.';

CREATE FUNCTION public.pulsebase_instant_of(text_of_it text) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return text_of_it::timestamptz;
exception
    when data_exception then
        return null;
end
$$;

COMMENT ON FUNCTION public.pulsebase_instant_of(text_of_it text) IS 'The time that a text says, or null where it says none.';

CREATE FUNCTION public.pulsebase_is_event_acknowledged(event_id uuid, moment timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_is_event_acknowledged(event_id uuid, moment timestamp with time zone) IS 'Whether somebody has acknowledged an alert event, and that still holds.';

CREATE FUNCTION public.pulsebase_is_service_in_trouble(service_name text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_is_service_in_trouble(service_name text) IS 'Whether a service is not well, or has begun to fail and nothing is decided yet.';

CREATE FUNCTION public.pulsebase_is_steady_state(state public.service_states) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    forgotten_after constant interval := interval '1 day';
begin
    if state.status <> 'healthy' or state.flapping_since is not null then
        return false;
    end if;
    return not exists (
        select
        from jsonb_each(state.tracks) as one (location, track)
        where (
                one.track ->> 'verdict' <> 'healthy'
                or one.track ->> 'failing_streak' <> '0'
                or one.track -> 'window' @> '[{"status": "down"}]'
                or one.track -> 'window' @> '[{"status": "degraded"}]'
            )
            -- What a location said that is gone for good is not remembered for ever.
            and (one.track ->> 'last_checked_at')::timestamptz
                >= state.last_checked_at - forgotten_after
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_is_steady_state(state public.service_states) IS 'Whether there is nothing to remember of a service but that it is well.';

CREATE FUNCTION public.pulsebase_keep_service_state(state public.service_states) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    steady constant boolean := public.pulsebase_is_steady_state(state);
begin
    update public.service_states as known
    set status = state.status,
        since = state.since,
        is_steady = steady,
        last_checked_at = state.last_checked_at,
        last_check_id = state.last_check_id,
        evaluated_ids = state.evaluated_ids,
        tracks = case when steady then '{}' else state.tracks end,
        incident_id = state.incident_id,
        event_id = state.event_id,
        first_failed = state.first_failed,
        last_failed = state.last_failed,
        changed_at = state.changed_at,
        flapping_since = state.flapping_since,
        flapping_incident_id = state.flapping_incident_id,
        flapping_event_id = state.flapping_event_id,
        updated_at = clock_timestamp()
    where known.service_name = state.service_name;
end
$$;

COMMENT ON FUNCTION public.pulsebase_keep_service_state(state public.service_states) IS 'Stores the state of a service.';

CREATE FUNCTION public.pulsebase_kept_window_length(rules public.alert_rules) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
    -- N in a row is counted by the streaks; only N of M needs to know what was when.
    return greatest(
        case
            when rules.down_open_seconds is null and rules.down_open_of > rules.down_open_checks
                then rules.down_open_of
            else 0
        end,
        case
            when rules.degraded_open_seconds is null
                and rules.degraded_open_of > rules.degraded_open_checks
                then rules.degraded_open_of
            else 0
        end
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_kept_window_length(rules public.alert_rules) IS 'How many of the newest checks a track has to remember one by one.';

CREATE FUNCTION public.pulsebase_lease_alert_messages(worker uuid, channels text[], leased_until timestamp with time zone, max_messages integer, moment timestamp with time zone) RETURNS uuid[]
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_lease_alert_messages(worker uuid, channels text[], leased_until timestamp with time zone, max_messages integer, moment timestamp with time zone) IS 'Lends at most so many messages to a worker, until a moment; which ones.';

CREATE FUNCTION public.pulsebase_like_pattern_of(pattern text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
    return replace(
        replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_like_pattern_of(pattern text) IS 'The LIKE pattern in which only * stands for any run of characters.';

CREATE FUNCTION public.pulsebase_location_of(probe_details jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
    return left(coalesce(probe_details ->> 'location', ''), 100);
end
$$;

COMMENT ON FUNCTION public.pulsebase_location_of(probe_details jsonb) IS 'From where a check was made; empty where it says nothing.';

CREATE FUNCTION public.pulsebase_lock_active_event(id uuid) RETURNS public.alert_events
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_lock_active_event(id uuid) IS 'Locks the state of a service and its active event, in this order; null if it is not active.';

CREATE FUNCTION public.pulsebase_lock_service_state(service_name text) RETURNS public.service_states
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    state public.service_states;
begin
    loop
        select known.* into state
        from public.service_states as known
        where known.service_name = pulsebase_lock_service_state.service_name
        for update;
        exit when found;
        insert into public.service_states (service_name)
        values (service_name)
        on conflict do nothing;
    end loop;
    state.last_checked_at := coalesce(state.last_checked_at, '-infinity');
    state.last_check_id := coalesce(state.last_check_id, '00000000-0000-0000-0000-000000000000');
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_lock_service_state(service_name text) IS 'The state of a service, which is made where there is none, locked until our end.';

CREATE FUNCTION public.pulsebase_matcher_problem(matcher jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
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
$_$;

COMMENT ON FUNCTION public.pulsebase_matcher_problem(matcher jsonb) IS 'What is wrong with a matcher of services, as a sentence, or null.';

CREATE FUNCTION public.pulsebase_matches_service(matcher jsonb, service_name text, labels jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
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
        where service_name like public.pulsebase_like_pattern_of(wanted.pattern)
    ) then
        return false;
    end if;
    return wanted_labels is null or not exists (
        select
        from jsonb_each_text(wanted_labels) as wanted (label, pattern)
        where (labels ->> wanted.label like public.pulsebase_like_pattern_of(wanted.pattern)) is not true
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_matches_service(matcher jsonb, service_name text, labels jsonb) IS 'Whether one of the names and every label of a matcher fit; no matcher fits every service.';

CREATE FUNCTION public.pulsebase_moment_of(given jsonb) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    moment timestamptz;
begin
    moment := given #>> '{}';
    return case when isfinite(moment) then moment end;
exception
    when invalid_datetime_format or datetime_field_overflow then
        return null;
end
$$;

COMMENT ON FUNCTION public.pulsebase_moment_of(given jsonb) IS 'A moment out of the details of an event, which anybody may have written; null if it is none.';

CREATE FUNCTION public.pulsebase_next_attempt_of(message public.alert_messages, retry_after_seconds double precision, moment timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_next_attempt_of(message public.alert_messages, retry_after_seconds double precision, moment timestamp with time zone) IS 'When a message is tried again after a failure: once more just before its time is over.';

CREATE FUNCTION public.pulsebase_number_within(given jsonb, lowest double precision, highest double precision, otherwise double precision) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
    if jsonb_typeof(given) = 'number' and given::numeric between lowest and highest then
        return given::double precision;
    end if;
    return otherwise;
end
$$;

COMMENT ON FUNCTION public.pulsebase_number_within(given jsonb, lowest double precision, highest double precision, otherwise double precision) IS 'A number out of JSON if it is one and within its bounds, else the other value.';

CREATE FUNCTION public.pulsebase_open_alert(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, rules public.alert_rules, policy jsonb) RETURNS public.service_states
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    alert_type constant text := 'service_' || verdict;
    previous_event_id constant uuid := state.event_id;
    is_new constant boolean := state.status = 'healthy';
    details jsonb;
    began_flapping boolean := false;
begin
    if is_new then
        state.incident_id := gen_random_uuid();
        state.changed_at := (array_prepend(newest.checked_at, state.changed_at))[:100];
    end if;
    details := public.pulsebase_opening_details(
        state, verdict, since, newest,
        state.tracks -> public.pulsebase_location_of(newest.probe_details), policy
    );
    if is_new then
        state.first_failed := details -> 'first_failed';
    else
        details := details || jsonb_build_object('supersedes', previous_event_id);
    end if;
    state.event_id := public.pulsebase_open_alert_event(state.service_name, alert_type, details);
    if not is_new then
        -- What brought the other may have begun before this one did.
        perform public.pulsebase_close_alert_event(
            previous_event_id, greatest(since, state.since),
            jsonb_build_object(
                'resolved_by', 'superseded',
                'superseded_by', state.event_id,
                'last_failed', state.last_failed,
                'downtime_seconds',
                    extract(epoch from greatest(since, state.since) - state.since)
            )
        );
    end if;
    state.status := verdict;
    state.since := since;
    if is_new and state.flapping_since is null and rules.flapping_changes > 0 then
        began_flapping := rules.flapping_changes <= (
            select count(*)
            from unnest(state.changed_at) as change (moment)
            where change.moment > newest.checked_at - rules.flapping_within
        );
    end if;
    if began_flapping then
        state.flapping_since := newest.checked_at;
        state.flapping_incident_id := state.incident_id;
        state.flapping_event_id := state.event_id;
        perform public.queue_alert_messages(
            'flapping_started', state.service_name, state.incident_id, state.event_id
        );
    elsif state.flapping_since is null then
        perform public.queue_alert_messages(
            case when is_new then 'opened' else 'superseded' end,
            state.service_name, state.incident_id, state.event_id,
            case when not is_new then previous_event_id end
        );
    end if;
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_open_alert(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, rules public.alert_rules, policy jsonb) IS 'The state after an alert opened, or took the place of another; the event and its messages are written.';

CREATE FUNCTION public.pulsebase_open_alert_event(service_name text, alert_type text, details jsonb) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    opened_id uuid;
begin
    loop
        insert into public.alert_events (service_name, alert_type, status, details, created_at)
        values (service_name, alert_type, 'active', details, clock_timestamp())
        on conflict do nothing
        returning id into opened_id;
        if found then
            return opened_id;
        end if;
        -- Somebody has opened one by hand: it becomes this one.
        update public.alert_events as known
        set details = public.pulsebase_details_with(known.details, pulsebase_open_alert_event.details)
        where known.service_name = pulsebase_open_alert_event.service_name
            and known.alert_type = pulsebase_open_alert_event.alert_type
            and known.status = 'active'
        returning known.id into opened_id;
        if found then
            return opened_id;
        end if;
    end loop;
end
$$;

COMMENT ON FUNCTION public.pulsebase_open_alert_event(service_name text, alert_type text, details jsonb) IS 'The active event of a service and type: a new one, or the one that somebody made by hand.';

CREATE FUNCTION public.pulsebase_opening_details(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, track jsonb, policy jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    level constant text := case verdict when 'down' then 'down' else 'degraded' end;
    first_failed jsonb;
begin
    select public.pulsebase_check_summary(failed) into first_failed
    from public.service_health_checks as failed
    where failed.service_name = state.service_name
        and failed.checked_at = since
        and failed.status <> 'healthy'
    order by failed.id
    limit 1;
    return jsonb_build_object(
        'incident_id', state.incident_id,
        'started_at', since,
        'status', verdict,
        'previous_status', state.status,
        'reason', public.pulsebase_alert_reason(newest.probe_details),
        'location', left(newest.probe_details ->> 'location', 100),
        'streak', track -> 'failing_streak',
        'first_failed', coalesce(first_failed, public.pulsebase_check_summary(newest)),
        'last_failed', coalesce(state.last_failed, public.pulsebase_check_summary(newest)),
        'policy', jsonb_build_object(
            'checks', policy -> (level || '_open_checks'),
            'of', policy -> (level || '_open_of'),
            'seconds', policy -> (level || '_open_seconds')
        )
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_opening_details(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, track jsonb, policy jsonb) IS 'What an event says when it opens: since when, why, where, and by which rule.';

CREATE FUNCTION public.pulsebase_queue_alert_ends(kind text, service_name text, incident_id uuid, event_ids uuid[], channels text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
begin
    insert into public.alert_deliveries (service_name, incident_id, event_id, channel, kind)
    select service_name, incident_id, told.event_id, told.channel, kind
    from unnest(event_ids, channels) as told (event_id, channel)
    on conflict do nothing;
end
$$;

COMMENT ON FUNCTION public.pulsebase_queue_alert_ends(kind text, service_name text, incident_id uuid, event_ids uuid[], channels text[]) IS 'Writes down that channels are to be told of an end, each of the event that it knows.';

CREATE FUNCTION public.pulsebase_queue_alert_openings(kind text, service_name text, incident_id uuid, event_id uuid, moment timestamp with time zone, except_channels text[] DEFAULT '{}'::text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
begin
    insert into public.alert_deliveries
        (service_name, incident_id, event_id, channel, kind, is_escalation, due_at)
    select
        service_name, incident_id, event_id, routed.routed_channel, kind,
        routed.delay_seconds > 0,
        greatest(
            moment,
            public.pulsebase_bounded_interval(routed.delay_seconds) + coalesce(
                -- Changing between slow and down must not put off an escalation for ever.
                (
                    select min(earlier.created_at)
                    from public.alert_deliveries as earlier
                    where earlier.incident_id = pulsebase_queue_alert_openings.incident_id
                        and earlier.channel = routed.routed_channel
                        and earlier.is_escalation
                        and earlier.cancelled_at is not null
                        and earlier.due_at > moment
                ),
                moment
            )
        )
    from public.alert_events as event
    cross join public.pulsebase_find_routed_channels(service_name, event.alert_type, moment) as routed
    where event.id = pulsebase_queue_alert_openings.event_id
        and not routed.routed_channel = any (except_channels)
    on conflict do nothing;
end
$$;

COMMENT ON FUNCTION public.pulsebase_queue_alert_openings(kind text, service_name text, incident_id uuid, event_id uuid, moment timestamp with time zone, except_channels text[]) IS 'Writes down that the channels of an event are to be told that it opened.';

CREATE FUNCTION public.pulsebase_queue_alert_reminders(channel text, moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_queue_alert_reminders(channel text, moment timestamp with time zone) IS 'Writes down the reminders of a channel that are due, by when it was last told of each alert.';

CREATE FUNCTION public.pulsebase_queue_flapping_end(service_name text, incident_id uuid, event_id uuid, flapping_event_id uuid, moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
        cross join lateral public.pulsebase_find_alert_openings(beginning.incident_id, moment) as opening
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
    perform public.pulsebase_queue_alert_ends(
        'flapping_ended', service_name, incident_id,
        array_fill(event_id, array[cardinality(told_channels)]), told_channels
    );
    if exists (
        select
        from public.alert_events as event
        where event.id = event_id
            and event.status = 'active'
    ) then
        perform public.pulsebase_queue_alert_openings(
            'opened', service_name, incident_id, event_id, moment, told_channels
        );
    end if;
end
$$;

COMMENT ON FUNCTION public.pulsebase_queue_flapping_end(service_name text, incident_id uuid, event_id uuid, flapping_event_id uuid, moment timestamp with time zone) IS 'Writes down that channels are to be told that a service keeps still, and how it is now.';

CREATE FUNCTION public.pulsebase_quiet_tracks(newest public.service_health_checks, new_ids jsonb, fresh interval) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    return (
        select coalesce(
            jsonb_object_agg(
                heard.location,
                jsonb_build_object(
                    'verdict', 'healthy', 'last_checked_at', heard.last_checked_at,
                    'failing_streak', 0, 'window', '[]'::jsonb
                )
            ),
            '{}'
        )
        from (
            select
                public.pulsebase_location_of(recent.probe_details) as location,
                max(recent.checked_at) as last_checked_at
            from (
                select known.checked_at, known.probe_details
                from public.service_health_checks as known
                where known.service_name = newest.service_name
                    and known.checked_at between newest.checked_at - fresh and newest.checked_at
                    -- Of those that are new the late ones are not decided on, but were heard.
                    and (
                        known.checked_at < newest.checked_at
                        or not coalesce(new_ids ? known.id::text, false)
                    )
                -- So many at most, and by the index that has this order, whatever statistics say.
                order by known.checked_at desc, known.id desc
                limit 10000
            ) as recent
            group by 1
        ) as heard
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_quiet_tracks(newest public.service_health_checks, new_ids jsonb, fresh interval) IS 'The locations that were heard of a steady service; nothing else of it is worth remembering.';

CREATE FUNCTION public.pulsebase_rate_end_of(rules public.alert_channels, moment timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_rate_end_of(rules public.alert_channels, moment timestamp with time zone) IS 'When the rate of a channel allows the next message, or null when it does now.';

CREATE FUNCTION public.pulsebase_recover_service(state public.service_states, since timestamp with time zone, newest public.service_health_checks) RETURNS public.service_states
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    opened_event_id constant uuid := state.event_id;
    incident_id constant uuid := state.incident_id;
    started_at timestamptz := (state.first_failed ->> 'checked_at')::timestamptz;
    recovery_id constant uuid := gen_random_uuid();
    opened jsonb;
    worst_status text;
    first_healthy jsonb;
    closing jsonb;
begin
    select public.pulsebase_check_summary(healed) into first_healthy
    from public.service_health_checks as healed
    where healed.service_name = state.service_name
        and healed.checked_at = since
        and healed.status = 'healthy'
    order by healed.id
    limit 1;
    select event.details into opened
    from public.alert_events as event
    where event.id = opened_event_id;
    -- Locations that disagree may have opened it with what one of them saw earlier.
    started_at := least(
        coalesce(started_at, state.since), public.pulsebase_moment_of(opened -> 'started_at')
    );
    -- Where one event took the place of another, one of the two was about being down.
    worst_status := case
        when state.status = 'down' or opened ? 'supersedes' then 'down'
        else state.status
    end;
    closing := jsonb_build_object(
        'last_failed', state.last_failed,
        'first_healthy', coalesce(first_healthy, public.pulsebase_check_summary(newest)),
        'downtime_seconds', greatest(0, extract(epoch from since - started_at))
    );
    perform public.pulsebase_close_alert_event(
        opened_event_id, since,
        closing || jsonb_build_object('resolved_by', 'recovery', 'recovery_event_id', recovery_id)
    );
    insert into public.alert_events
        (id, service_name, alert_type, status, details, created_at, resolved_at)
    values (
        recovery_id, state.service_name, 'recovery', 'resolved',
        closing || jsonb_build_object(
            'incident_id', incident_id,
            'opened_event_id', opened_event_id,
            'started_at', started_at,
            'resolved_at', since,
            'status', state.status,
            'worst_status', worst_status,
            'first_failed', state.first_failed
        ),
        clock_timestamp(), since
    );
    if state.flapping_since is null then
        perform public.queue_alert_messages(
            'recovered', state.service_name, incident_id, opened_event_id
        );
    end if;
    state.status := 'healthy';
    state.since := since;
    state.incident_id := null;
    state.event_id := null;
    state.first_failed := null;
    state.last_failed := null;
    state.changed_at := (array_prepend(newest.checked_at, state.changed_at))[:100];
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_recover_service(state public.service_states, since timestamp with time zone, newest public.service_health_checks) IS 'The state after a recovery; the event that was active is resolved, the recovery is written.';

CREATE FUNCTION public.pulsebase_replace_alert_routes(routes jsonb) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    replaced bigint;
    removed bigint;
begin
    perform public.pulsebase_assert_route_hours(given.route -> 'hours')
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
$$;

COMMENT ON FUNCTION public.pulsebase_replace_alert_routes(routes jsonb) IS 'Makes these the routes; says whether they were others before.';

CREATE FUNCTION public.pulsebase_settle_alert_message(message public.alert_messages, outcome text, error text, retry_after_seconds double precision, moment timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_settle_alert_message(message public.alert_messages, outcome text, error text, retry_after_seconds double precision, moment timestamp with time zone) IS 'Says what becomes of a message, and of its channel, after an attempt.';

CREATE FUNCTION public.pulsebase_state_after_quiet(state public.service_states, new_ids jsonb) RETURNS public.service_states
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    newest record;
begin
    -- Healthy checks of a steady service were decided on by being left alone.
    select known.checked_at, known.id into newest
    from public.service_health_checks as known
    where known.service_name = state.service_name
        and not coalesce(new_ids ? known.id::text, false)
        -- A row from the future, older than the rule that refuses such, would blind us until then.
        and isfinite(known.checked_at)
        and known.checked_at <= clock_timestamp() + interval '5 minutes'
    order by known.checked_at desc, known.id desc
    limit 1;
    if (newest.checked_at, newest.id) > (state.last_checked_at, state.last_check_id) then
        if newest.checked_at > state.last_checked_at then
            state.evaluated_ids := '{}';
        end if;
        state.last_checked_at := newest.checked_at;
        state.last_check_id := newest.id;
    end if;
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_state_after_quiet(state public.service_states, new_ids jsonb) IS 'The state of a steady service after all its checks but the ones that are new.';

CREATE FUNCTION public.pulsebase_step_alert_track(track jsonb, status text, checked_at timestamp with time zone, rules public.alert_rules) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    verdict constant text := coalesce(track ->> 'verdict', 'healthy');
    since timestamptz;
begin
    track := public.pulsebase_count_into_track(
        track, status, checked_at, public.pulsebase_kept_window_length(rules)
    );
    if rules.opens and verdict <> 'down' and status = 'down' then
        since := public.pulsebase_begins_opening(
            track, true, checked_at, rules.down_open_checks, rules.down_open_of,
            rules.down_open_seconds
        );
        if since is not null then
            return track || jsonb_build_object('verdict', 'down', 'verdict_since', since);
        end if;
    end if;
    if rules.opens and verdict = 'healthy' and status <> 'healthy' then
        since := public.pulsebase_begins_opening(
            track, false, checked_at, rules.degraded_open_checks, rules.degraded_open_of,
            rules.degraded_open_seconds
        );
        if since is not null and rules.watches_degraded then
            return track || jsonb_build_object('verdict', 'degraded', 'verdict_since', since);
        end if;
    elsif verdict <> 'healthy' and (track ->> 'healthy_streak')::integer >= (
        case verdict when 'down' then rules.down_close_checks else rules.degraded_close_checks end
    ) then
        return track || jsonb_build_object(
            'verdict', 'healthy', 'verdict_since', track -> 'healthy_since', 'window', '[]'::jsonb
        );
    elsif verdict = 'down' and (track ->> 'up_streak')::integer >= rules.down_close_checks then
        return track || jsonb_build_object(
            'verdict', 'degraded', 'verdict_since', track -> 'up_since', 'window', '[]'::jsonb
        );
    end if;
    return track;
end
$$;

COMMENT ON FUNCTION public.pulsebase_step_alert_track(track jsonb, status text, checked_at timestamp with time zone, rules public.alert_rules) IS 'A track after one more check, with the verdict that its location comes to.';

CREATE FUNCTION public.pulsebase_step_service(state public.service_states, newest public.service_health_checks, rules public.alert_rules, policy jsonb) RETURNS public.service_states
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
    location constant text := public.pulsebase_location_of(newest.probe_details);
    seen constant text := case
        when newest.status = 'degraded' and not rules.watches_degraded then 'healthy'
        else newest.status
    end;
    track jsonb := state.tracks -> location;
    vote jsonb;
begin
    state := public.pulsebase_end_flapping(state, newest.checked_at, rules);
    -- A location that is heard for the first time, or again after a silence, goes on from what is
    -- decided: one check of it must not undo what others have seen.
    if state.tracks - location <> '{}' and (
        track is null
        or (track ->> 'last_checked_at')::timestamptz < newest.checked_at - rules.location_fresh
    ) then
        track := jsonb_build_object('verdict', state.status, 'verdict_since', state.since);
    end if;
    state.tracks := jsonb_set(
        public.pulsebase_tracks_with_room(state.tracks, location), array[location],
        public.pulsebase_step_alert_track(track, seen, newest.checked_at, rules)
    );
    if newest.checked_at > state.last_checked_at then
        state.evaluated_ids := '{}';
    end if;
    if cardinality(state.evaluated_ids) < 100 then
        state.evaluated_ids := state.evaluated_ids || newest.id;
    end if;
    if (newest.checked_at, newest.id) > (state.last_checked_at, state.last_check_id) then
        state.last_checked_at := newest.checked_at;
        state.last_check_id := newest.id;
    end if;
    if seen <> 'healthy' then
        state.last_failed := public.pulsebase_check_summary(newest);
    end if;
    vote := public.pulsebase_vote_of_tracks(state.tracks, location, newest.checked_at, rules);
    if vote ->> 'verdict' = 'healthy' and state.status <> 'healthy' then
        state := public.pulsebase_recover_service(state, (vote ->> 'since')::timestamptz, newest);
    elsif vote ->> 'verdict' <> state.status then
        state := public.pulsebase_open_alert(
            state, vote ->> 'verdict', (vote ->> 'since')::timestamptz, newest, rules, policy
        );
    end if;
    return state;
end
$$;

COMMENT ON FUNCTION public.pulsebase_step_service(state public.service_states, newest public.service_health_checks, rules public.alert_rules, policy jsonb) IS 'The state after one more check; what comes of it is written.';

CREATE FUNCTION public.pulsebase_tracks_with_room(tracks jsonb, location text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    -- Nearly always, and answered without a query.
    if tracks ? location or tracks = '{}' then
        return tracks;
    end if;
    if (select count(*) < 100 from jsonb_object_keys(tracks)) then
        return tracks;
    end if;
    return tracks - (
        select one.location
        from jsonb_each(tracks) as one (location, track)
        order by (one.track ->> 'last_checked_at')::timestamptz, one.location
        limit 1
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_tracks_with_room(tracks jsonb, location text) IS 'The tracks with room for one of this location: of a hundred others the most silent one goes.';

CREATE FUNCTION public.pulsebase_vote_of_tracks(tracks jsonb, location text, checked_at timestamp with time zone, rules public.alert_rules) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
    fresh integer;
    say_down integer;
    say_failing integer;
    needed integer;
    down_since timestamptz;
    failing_since timestamptz;
begin
    if tracks - location = '{}' then
        return jsonb_build_object(
            'verdict', tracks -> location -> 'verdict',
            'since', tracks -> location -> 'verdict_since'
        );
    end if;
    select
        count(*),
        count(*) filter (where one.track ->> 'verdict' = 'down'),
        count(*) filter (where one.track ->> 'verdict' <> 'healthy'),
        min((one.track ->> 'verdict_since')::timestamptz)
            filter (where one.track ->> 'verdict' = 'down'),
        min((one.track ->> 'verdict_since')::timestamptz)
            filter (where one.track ->> 'verdict' <> 'healthy')
    into fresh, say_down, say_failing, down_since, failing_since
    from jsonb_each(tracks) as one (location, track)
    where (one.track ->> 'last_checked_at')::timestamptz >= checked_at - rules.location_fresh;
    needed := case rules.locations_agree
        when 0 then fresh / 2 + 1
        when -1 then fresh
        else least(rules.locations_agree, fresh)
    end;
    return case
        when say_down >= needed
            then jsonb_build_object('verdict', 'down', 'since', down_since)
        when say_failing >= needed
            then jsonb_build_object('verdict', 'degraded', 'since', failing_since)
        else jsonb_build_object('verdict', 'healthy', 'since', checked_at)
    end;
end
$$;

COMMENT ON FUNCTION public.pulsebase_vote_of_tracks(tracks jsonb, location text, checked_at timestamp with time zone, rules public.alert_rules) IS 'What the locations that are fresh agree on, and since when; a silent one does not vote.';

CREATE FUNCTION public.pulsebase_window_end_of(rules public.alert_channels, ready_at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
    -- Early, so that a digest of thousands is claimed, made and sent within its window.
    return ready_at + public.pulsebase_bounded_interval(
        rules.group_window_seconds - least(3, rules.group_window_seconds / 5)
    );
end
$$;

COMMENT ON FUNCTION public.pulsebase_window_end_of(rules public.alert_channels, ready_at timestamp with time zone) IS 'When a message is made of what a channel is owed, by when the oldest of it was ready.';

CREATE FUNCTION public.pulsebase_write_alert_act(act_id uuid, act text, actor text, note text DEFAULT NULL::text, service_name text DEFAULT NULL::text, event_id uuid DEFAULT NULL::uuid, silence_id uuid DEFAULT NULL::uuid, message_id uuid DEFAULT NULL::uuid, channel text DEFAULT NULL::text, until timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_write_alert_act(act_id uuid, act text, actor text, note text, service_name text, event_id uuid, silence_id uuid, message_id uuid, channel text, until timestamp with time zone) IS 'Writes down an act; where nobody is named, the role of the database was it.';

CREATE FUNCTION public.pulsebase_write_silence_periods(silence_id uuid, periods jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.pulsebase_write_silence_periods(silence_id uuid, periods jsonb) IS 'Writes down when a silence holds; a period that is there may become longer.';

CREATE FUNCTION public.queue_alert_messages(change text, service_name text, incident_id uuid, event_id uuid, previous_event_id uuid DEFAULT NULL::uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
#variable_conflict use_variable
declare
    moment constant timestamptz := clock_timestamp();
    told_channels text[];
    told_events uuid[];
begin
    if change in ('opened', 'flapping_started') then
        perform public.pulsebase_queue_alert_openings(change, service_name, incident_id, event_id, moment);
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
        perform public.pulsebase_queue_flapping_end(
            service_name, incident_id, event_id, coalesce(previous_event_id, event_id), moment
        );
        return;
    end if;

    if change not in ('superseded', 'recovered', 'resolved_by_hand') then
        raise exception 'there is no change %', change using errcode = '22023';
    end if;
    select array_agg(told.told_channel), array_agg(told.told_event_id)
    into told_channels, told_events
    from public.pulsebase_drop_untold_deliveries(incident_id, replace(change, '_', ' '), moment) as told;
    if change = 'superseded' then
        perform public.pulsebase_queue_alert_openings('opened', service_name, incident_id, event_id, moment);
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
    perform public.pulsebase_queue_alert_ends(
        'resolved', service_name, incident_id, told_events, told_channels
    );
end
$$;

COMMENT ON FUNCTION public.queue_alert_messages(change text, service_name text, incident_id uuid, event_id uuid, previous_event_id uuid) IS 'Writes down what channels are owed after a change; called in the transaction of the change.';

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

CREATE FUNCTION public.replay_alert_message(id uuid, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.replay_alert_message(id uuid, actor text, note text, act_id uuid) IS 'Sends a message that was given up again, under the same id, and returns it; any other is returned as it is.';

CREATE FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone DEFAULT NULL::timestamp with time zone, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
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
$_$;

COMMENT ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone, actor text, note text, act_id uuid) IS 'Resolves an active event by hand and returns its row; a resolved one is returned as it is.';

CREATE FUNCTION public.unacknowledge_alert_event(id uuid, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, act_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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
$$;

COMMENT ON FUNCTION public.unacknowledge_alert_event(id uuid, actor text, note text, act_id uuid) IS 'Withdraws the acknowledgement of an active event; returns the event.';

CREATE TRIGGER evaluate_new_checks AFTER INSERT ON public.service_health_checks REFERENCING NEW TABLE AS new_checks FOR EACH STATEMENT EXECUTE FUNCTION public.evaluate_new_checks();

REVOKE ALL ON FUNCTION public.acknowledge_alert_event(id uuid, actor text, note text, until timestamp with time zone, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.acknowledge_alert_event(id uuid, actor text, note text, until timestamp with time zone, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.alert_policy_of(service_name text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.alert_policy_of(service_name text) TO service_role;

REVOKE ALL ON FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text, location text, was_cut_off boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.beat_monitor(id uuid, heartbeat_interval_seconds double precision, version text, name text, location text, was_cut_off boolean) TO service_role;

REVOKE ALL ON FUNCTION public.claim_alert_messages(worker uuid, channels text[], lease_seconds double precision, max_messages integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.claim_alert_messages(worker uuid, channels text[], lease_seconds double precision, max_messages integer) TO service_role;

REVOKE ALL ON FUNCTION public.count_health_checks_by_status(service_name text, since timestamp with time zone, until timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.count_health_checks_by_status(service_name text, since timestamp with time zone, until timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_alert_event(service_name text, alert_type text, status text, details jsonb, id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.create_alert_silence(id uuid, matcher jsonb, kind text, name text, schedule jsonb, note text, actor text, periods jsonb, planned_until timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_alert_silence(id uuid, matcher jsonb, kind text, name text, schedule jsonb, note text, actor text, periods jsonb, planned_until timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.create_health_check(service_name text, status text, latency_ms integer, checked_at timestamp with time zone, probe_details jsonb, id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_health_check(service_name text, status text, latency_ms integer, checked_at timestamp with time zone, probe_details jsonb, id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.create_health_checks(checks json) FROM PUBLIC;

GRANT ALL ON FUNCTION public.create_health_checks(checks json) TO service_role;

REVOKE ALL ON FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.delete_alert_events_older_than(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.delete_alert_messages_older_than(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.delete_alert_messages_older_than(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.delete_health_checks_older_than(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.disable_alert_channel(name text, actor text, reason text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.disable_alert_channel(name text, actor text, reason text, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.enable_alert_channel(name text, actor text, note text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.enable_alert_channel(name text, actor text, note text, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.evaluate_health_checks(checks jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.evaluate_health_checks(checks jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.evaluate_new_checks() FROM PUBLIC;

GRANT ALL ON FUNCTION public.evaluate_new_checks() TO service_role;

REVOKE ALL ON FUNCTION public.find_active_alert_events(service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_active_alert_events(service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_acknowledgements(service_name text, after_event_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_acknowledgements(service_name text, after_event_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_acts(event_id uuid, silence_id uuid, message_id uuid, channel text, service_name text, since timestamp with time zone, until timestamp with time zone, before_acted_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_acts(event_id uuid, silence_id uuid, message_id uuid, channel text, service_name text, since timestamp with time zone, until timestamp with time zone, before_acted_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_channels() FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_channels() TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_event(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_event(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_events(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_events(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_message(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_message(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_messages(status text, channel text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_messages(status text, channel text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_silence(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_silence(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_silences(which text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_silences(which text, service_name text, before_created_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_alert_silences_to_plan(horizon_seconds double precision, after_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_alert_silences_to_plan(horizon_seconds double precision, after_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_health_check(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_health_check(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_health_checks(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_checked_at timestamp with time zone, before_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_health_checks(service_name text, since timestamp with time zone, until timestamp with time zone, status text, before_checked_at timestamp with time zone, before_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_latest_health_checks(service_name text, after_service_name text, stale_after_seconds double precision, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_latest_health_checks(service_name text, after_service_name text, stale_after_seconds double precision, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_monitor_services(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_monitor_services(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.find_monitored_services(service_name text, after_service_name text, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_monitored_services(service_name text, after_service_name text, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_monitors(include_gone boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_monitors(include_gone boolean) TO service_role;

REVOKE ALL ON FUNCTION public.find_service_states(service_name text, after_service_name text, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_service_states(service_name text, after_service_name text, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.find_waiting_deliveries(channel text, service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.find_waiting_deliveries(channel text, service_name text, after_created_at timestamp with time zone, after_id uuid, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.finish_alert_message(id uuid, attempt integer, outcome text, error text, retry_after_seconds double precision) FROM PUBLIC;

GRANT ALL ON FUNCTION public.finish_alert_message(id uuid, attempt integer, outcome text, error text, retry_after_seconds double precision) TO service_role;

REVOKE ALL ON FUNCTION public.lift_alert_silence(id uuid, name text, actor text, note text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.lift_alert_silence(id uuid, name text, actor text, note text, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.plan_alert_silence(id uuid, periods jsonb, planned_until timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.plan_alert_silence(id uuid, periods jsonb, planned_until timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.publish_alert_channels(channels json, routes json) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_alert_channels(channels json, routes json) TO service_role;

REVOKE ALL ON FUNCTION public.publish_alert_policies(policies jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_alert_policies(policies jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.publish_maintenance_windows(windows jsonb, actor text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_maintenance_windows(windows jsonb, actor text) TO service_role;

REVOKE ALL ON FUNCTION public.publish_monitor_services(id uuid, digest text, services text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_monitor_services(id uuid, digest text, services text) TO service_role;

REVOKE ALL ON FUNCTION public.publish_monitored_services(services jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.publish_monitored_services(services jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_alert_policy_problem(policy jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_alert_policy_problem(policy jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_alert_reason(probe_details jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_alert_reason(probe_details jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_alert_rules_of(policy jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_alert_rules_of(policy jsonb) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_silences TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_alert_silence_row(silence public.alert_silences, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_alert_silence_row(silence public.alert_silences, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_assert_route_hours(hours jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_assert_route_hours(hours jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_begins_opening(track jsonb, counts_down_only boolean, checked_at timestamp with time zone, open_checks integer, open_of integer, open_seconds double precision) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_begins_opening(track jsonb, counts_down_only boolean, checked_at timestamp with time zone, open_checks integer, open_of integer, open_seconds double precision) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_bounded_interval(seconds double precision) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_bounded_interval(seconds double precision) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service_health_checks TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_check_summary(found_check public.service_health_checks) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_check_summary(found_check public.service_health_checks) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_close_alert_event(id uuid, resolved_at timestamp with time zone, details jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_close_alert_event(id uuid, resolved_at timestamp with time zone, details jsonb) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_channels TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_count_formed_messages(rules public.alert_channels, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_count_formed_messages(rules public.alert_channels, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_count_into_track(track jsonb, status text, checked_at timestamp with time zone, window_length integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_count_into_track(track jsonb, status text, checked_at timestamp with time zone, window_length integer) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_decoded_json(value jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_decoded_json(value jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_default_alert_policy() FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_default_alert_policy() TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_delete_old_acts(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_delete_old_acts(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_delete_old_deliveries(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_delete_old_deliveries(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_delete_old_silences(cutoff timestamp with time zone, max_rows integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_delete_old_silences(cutoff timestamp with time zone, max_rows integer) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_describe_attempts(message_id uuid, before_attempt integer) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_describe_attempts(message_id uuid, before_attempt integer) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_describe_deliveries(message_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_describe_deliveries(message_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_describe_leased_messages(message_ids uuid[]) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_describe_leased_messages(message_ids uuid[]) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_events TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_details_resolved_by_person(event public.alert_events, first_failed jsonb, last_failed jsonb, resolved_at timestamp with time zone, actor text, note text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_details_resolved_by_person(event public.alert_events, first_failed jsonb, last_failed jsonb, resolved_at timestamp with time zone, actor text, note text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_details_with(details jsonb, more jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_details_with(details jsonb, more jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_drop_untold_deliveries(incident_id uuid, because text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_drop_untold_deliveries(incident_id uuid, because text, moment timestamp with time zone) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service_states TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_end_flapping(state public.service_states, checked_at timestamp with time zone, rules public.alert_rules) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_end_flapping(state public.service_states, checked_at timestamp with time zone, rules public.alert_rules) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_evaluate_service(service_name text, new_ids jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_evaluate_service(service_name text, new_ids jsonb) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_acts TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_acknowledgement(event_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_acknowledgement(event_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_alert_openings(incident_id uuid, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_alert_openings(incident_id uuid, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_due_deliveries(channel text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_due_deliveries(channel text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_hold_reasons(delivery_ids uuid[], moment timestamp with time zone, as_kind text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_hold_reasons(delivery_ids uuid[], moment timestamp with time zone, as_kind text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_muted_services(service_names text[], moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_muted_services(service_names text[], moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_next_due(channels text[], moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_next_due(channels text[], moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_ready_deliveries(channel text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_ready_deliveries(channel text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_routed_channels(service_name text, alert_type text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_routed_channels(service_name text, alert_type text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_find_unfinished_messages(channels text[]) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_find_unfinished_messages(channels text[]) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_forget_trouble(service_name text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_forget_trouble(service_name text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_form_alert_messages(channel text, moment timestamp with time zone, free uuid[]) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_form_alert_messages(channel text, moment timestamp with time zone, free uuid[]) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_free_silence_name(name text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_free_silence_name(name text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_give_up_alert_messages(moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_give_up_alert_messages(moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_has_silence_periods(silence_id uuid, periods jsonb, is_scheduled boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_has_silence_periods(silence_id uuid, periods jsonb, is_scheduled boolean) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_hold_alert_deliveries(channel text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_hold_alert_deliveries(channel text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_hours_include(hours jsonb, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_hours_include(hours jsonb, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_instant_of(text_of_it text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_instant_of(text_of_it text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_is_event_acknowledged(event_id uuid, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_is_event_acknowledged(event_id uuid, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_is_service_in_trouble(service_name text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_is_service_in_trouble(service_name text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_is_steady_state(state public.service_states) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_is_steady_state(state public.service_states) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_keep_service_state(state public.service_states) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_keep_service_state(state public.service_states) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_kept_window_length(rules public.alert_rules) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_kept_window_length(rules public.alert_rules) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_lease_alert_messages(worker uuid, channels text[], leased_until timestamp with time zone, max_messages integer, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_lease_alert_messages(worker uuid, channels text[], leased_until timestamp with time zone, max_messages integer, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_like_pattern_of(pattern text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_like_pattern_of(pattern text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_location_of(probe_details jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_location_of(probe_details jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_lock_active_event(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_lock_active_event(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_lock_service_state(service_name text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_lock_service_state(service_name text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_matcher_problem(matcher jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_matcher_problem(matcher jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_matches_service(matcher jsonb, service_name text, labels jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_matches_service(matcher jsonb, service_name text, labels jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_moment_of(given jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_moment_of(given jsonb) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_messages TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_next_attempt_of(message public.alert_messages, retry_after_seconds double precision, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_next_attempt_of(message public.alert_messages, retry_after_seconds double precision, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_number_within(given jsonb, lowest double precision, highest double precision, otherwise double precision) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_number_within(given jsonb, lowest double precision, highest double precision, otherwise double precision) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_open_alert(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, rules public.alert_rules, policy jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_open_alert(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, rules public.alert_rules, policy jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_open_alert_event(service_name text, alert_type text, details jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_open_alert_event(service_name text, alert_type text, details jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_opening_details(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, track jsonb, policy jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_opening_details(state public.service_states, verdict text, since timestamp with time zone, newest public.service_health_checks, track jsonb, policy jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_queue_alert_ends(kind text, service_name text, incident_id uuid, event_ids uuid[], channels text[]) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_queue_alert_ends(kind text, service_name text, incident_id uuid, event_ids uuid[], channels text[]) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_queue_alert_openings(kind text, service_name text, incident_id uuid, event_id uuid, moment timestamp with time zone, except_channels text[]) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_queue_alert_openings(kind text, service_name text, incident_id uuid, event_id uuid, moment timestamp with time zone, except_channels text[]) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_queue_alert_reminders(channel text, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_queue_alert_reminders(channel text, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_queue_flapping_end(service_name text, incident_id uuid, event_id uuid, flapping_event_id uuid, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_queue_flapping_end(service_name text, incident_id uuid, event_id uuid, flapping_event_id uuid, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_quiet_tracks(newest public.service_health_checks, new_ids jsonb, fresh interval) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_quiet_tracks(newest public.service_health_checks, new_ids jsonb, fresh interval) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_rate_end_of(rules public.alert_channels, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_rate_end_of(rules public.alert_channels, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_recover_service(state public.service_states, since timestamp with time zone, newest public.service_health_checks) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_recover_service(state public.service_states, since timestamp with time zone, newest public.service_health_checks) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_replace_alert_routes(routes jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_replace_alert_routes(routes jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_settle_alert_message(message public.alert_messages, outcome text, error text, retry_after_seconds double precision, moment timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_settle_alert_message(message public.alert_messages, outcome text, error text, retry_after_seconds double precision, moment timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_state_after_quiet(state public.service_states, new_ids jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_state_after_quiet(state public.service_states, new_ids jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_step_alert_track(track jsonb, status text, checked_at timestamp with time zone, rules public.alert_rules) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_step_alert_track(track jsonb, status text, checked_at timestamp with time zone, rules public.alert_rules) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_step_service(state public.service_states, newest public.service_health_checks, rules public.alert_rules, policy jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_step_service(state public.service_states, newest public.service_health_checks, rules public.alert_rules, policy jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_tracks_with_room(tracks jsonb, location text) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_tracks_with_room(tracks jsonb, location text) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_vote_of_tracks(tracks jsonb, location text, checked_at timestamp with time zone, rules public.alert_rules) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_vote_of_tracks(tracks jsonb, location text, checked_at timestamp with time zone, rules public.alert_rules) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_window_end_of(rules public.alert_channels, ready_at timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_window_end_of(rules public.alert_channels, ready_at timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_write_alert_act(act_id uuid, act text, actor text, note text, service_name text, event_id uuid, silence_id uuid, message_id uuid, channel text, until timestamp with time zone) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_write_alert_act(act_id uuid, act text, actor text, note text, service_name text, event_id uuid, silence_id uuid, message_id uuid, channel text, until timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION public.pulsebase_write_silence_periods(silence_id uuid, periods jsonb) FROM PUBLIC;

GRANT ALL ON FUNCTION public.pulsebase_write_silence_periods(silence_id uuid, periods jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.queue_alert_messages(change text, service_name text, incident_id uuid, event_id uuid, previous_event_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.queue_alert_messages(change text, service_name text, incident_id uuid, event_id uuid, previous_event_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.remove_monitor(id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.remove_monitor(id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.replay_alert_message(id uuid, actor text, note text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.replay_alert_message(id uuid, actor text, note text, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone, actor text, note text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.resolve_alert_event(id uuid, resolved_at timestamp with time zone, actor text, note text, act_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.unacknowledge_alert_event(id uuid, actor text, note text, act_id uuid) FROM PUBLIC;

GRANT ALL ON FUNCTION public.unacknowledge_alert_event(id uuid, actor text, note text, act_id uuid) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_deliveries TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_message_attempts TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_policies TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_routes TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_silence_periods TO service_role;

GRANT SELECT ON TABLE public.migrations TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitored_services TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitors TO service_role;
