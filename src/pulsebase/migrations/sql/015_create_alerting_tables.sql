-- What alerting remembers. The rules are functions in the files that follow; here is their memory.
--
--   what is known of services    monitored_services, alert_policies
--   what the machine decided     service_states, and the events in alert_events
--   what people decided          alert_silences with their periods, alert_acts
--   whom to tell                 alert_channels, alert_routes
--   what is owed, and was sent   alert_deliveries, alert_messages with their attempts
--
-- No foreign keys: each table is tidied by its own age, and a service is known by its name alone.

-- What the configuration of the monitors says of each service; a service that is not here is as
-- good, and has the default policy.
create table if not exists public.monitored_services (
    service_name varchar(100) primary key,
    labels jsonb not null default '{}',
    depends_on text[] not null default '{}',
    interval_seconds double precision,
    alert_policy jsonb,
    updated_at timestamptz not null default current_timestamp,
    constraint monitored_services_labels_object check (jsonb_typeof(labels) = 'object'),
    constraint monitored_services_alert_policy_object check (jsonb_typeof(alert_policy) = 'object'),
    constraint monitored_services_interval_positive check (interval_seconds > 0)
);

-- Policies by label or name, applied in their order on top of the built-in one; a policy without a
-- matcher is everybody's. The service's own, in monitored_services, comes last.
create table if not exists public.alert_policies (
    position integer primary key,
    matcher jsonb,
    alert_policy jsonb not null,
    constraint alert_policies_matcher_object check (jsonb_typeof(matcher) = 'object'),
    constraint alert_policies_alert_policy_object check (jsonb_typeof(alert_policy) = 'object')
);

create table if not exists public.service_states (
    service_name varchar(100) primary key,
    -- What has been decided, which is not always what the newest check says.
    status text not null default 'healthy',
    since timestamptz,
    -- Nothing to remember but that all is well: new healthy checks are not even looked at.
    is_steady boolean not null default true,
    last_checked_at timestamptz,
    last_check_id uuid,
    -- All that were evaluated of that very time: those of one transaction often bear one time.
    evaluated_ids uuid[] not null default '{}',
    -- For each location ('' where checks name none): its streaks, window and verdict.
    tracks jsonb not null default '{}',
    incident_id uuid,
    event_id uuid,
    first_failed jsonb,
    last_failed jsonb,
    -- When the status last went to or from healthy: as many as the policy counts.
    changed_at timestamptz[] not null default '{}',
    flapping_since timestamptz,
    -- What was being told when it was said that the service flaps.
    flapping_incident_id uuid,
    flapping_event_id uuid,
    updated_at timestamptz not null default current_timestamp,
    constraint service_states_status_known check (status in ('healthy', 'degraded', 'down')),
    constraint service_states_incident_while_unhealthy
        check ((status = 'healthy') = (incident_id is null))
-- Room on the page for new versions: a service that is down is rewritten with every check.
) with (fillfactor = 70);

create index if not exists idx_service_states_unsteady
    on public.service_states (service_name)
    where not is_steady;

-- Silences and maintenance windows. When they hold is in the periods: one for a single stretch of
-- time, one for each occurrence where there is a schedule.
create table if not exists public.alert_silences (
    id uuid primary key,
    kind text not null,
    name text,
    matcher jsonb not null,
    schedule jsonb,
    note text,
    created_by text not null,
    created_at timestamptz not null default current_timestamp,
    lifted_at timestamptz,
    lifted_by text,
    -- Up to when a schedule's periods have been written down.
    planned_until timestamptz,
    constraint alert_silences_kind_known check (kind in ('silence', 'maintenance')),
    constraint alert_silences_matcher_object check (jsonb_typeof(matcher) = 'object'),
    constraint alert_silences_schedule_object check (jsonb_typeof(schedule) = 'object'),
    constraint alert_silences_name_readable
        check (name <> '' and length(name) <= 100 and name !~ '[\u0001-\u001f\u007f-\u009f]'),
    constraint alert_silences_people_readable check (
        created_by <> '' and length(created_by) <= 100
        and created_by !~ '[\u0001-\u001f\u007f-\u009f]' and length(lifted_by) <= 100
    ),
    constraint alert_silences_note_short check (length(note) <= 2000),
    constraint alert_silences_matcher_small check (octet_length(matcher::text) <= 65536),
    constraint alert_silences_schedule_small check (octet_length(schedule::text) <= 4096)
);

create index if not exists idx_alert_silences_created_at
    on public.alert_silences (created_at, id);

create unique index if not exists idx_alert_silences_name
    on public.alert_silences (name)
    where lifted_at is null and name is not null;

create table if not exists public.alert_silence_periods (
    silence_id uuid not null,
    starts_at timestamptz not null,
    -- Without an end it holds until it is lifted.
    ends_at timestamptz,
    primary key (silence_id, starts_at),
    constraint alert_silence_periods_end_after_start check (ends_at > starts_at)
);

create index if not exists idx_alert_silence_periods_ends_at
    on public.alert_silence_periods (ends_at);

-- What people did, and it alone: rows are only ever added.
create table if not exists public.alert_acts (
    id uuid primary key,
    act text not null,
    actor text not null,
    acted_at timestamptz not null default current_timestamp,
    service_name varchar(100),
    event_id uuid,
    silence_id uuid,
    message_id uuid,
    channel text,
    until timestamptz,
    note text,
    constraint alert_acts_act_known check (
        act in (
            'acknowledge', 'unacknowledge', 'resolve', 'silence', 'maintenance', 'lift', 'replay',
            'enable_channel', 'disable_channel'
        )
    ),
    constraint alert_acts_actor_readable
        check (actor <> '' and length(actor) <= 100 and actor !~ '[\u0001-\u001f\u007f-\u009f]'),
    constraint alert_acts_note_short check (length(note) <= 2000)
);

create index if not exists idx_alert_acts_event_id on public.alert_acts (event_id, acted_at);
create index if not exists idx_alert_acts_acted_at on public.alert_acts (acted_at, id);

-- Where messages can go. Addresses and secrets stay with whoever delivers; the rules are here.
create table if not exists public.alert_channels (
    name text primary key,
    -- Gone from the configuration: nothing new is owed to it, what it was told is still resolved.
    is_published boolean not null default true,
    group_window_seconds double precision not null default 10,
    rate_limit integer,
    rate_period_seconds double precision,
    remind_every_seconds double precision,
    give_up_after_seconds double precision not null default 86400,
    refusals_in_a_row integer not null default 0,
    disabled_at timestamptz,
    disabled_reason text,
    updated_at timestamptz not null default current_timestamp,
    constraint alert_channels_name_readable
        check (name <> '' and length(name) <= 100 and name !~ '[\u0001-\u001f\u007f-\u009f]'),
    constraint alert_channels_durations_positive check (
        group_window_seconds >= 0 and rate_limit > 0 and rate_period_seconds > 0
        and remind_every_seconds > 0 and give_up_after_seconds > 0
    )
);

-- A channel that no route names is told everything.
create table if not exists public.alert_routes (
    position integer primary key,
    channels text[] not null,
    matcher jsonb,
    alert_types text[],
    -- {"from": "22:00", "until": "06:00", "days": [1, …, 7], "zone": "Europe/Berlin"}
    hours jsonb,
    -- An escalation step: only what is still open, and not acknowledged, after so long.
    after_seconds double precision not null default 0,
    constraint alert_routes_matcher_object check (jsonb_typeof(matcher) = 'object'),
    constraint alert_routes_hours_object check (jsonb_typeof(hours) = 'object'),
    constraint alert_routes_after_not_negative check (after_seconds >= 0)
);

-- The outbox: what is owed to a channel about an event. Written in the transaction of the change.
create table if not exists public.alert_deliveries (
    id uuid primary key default gen_random_uuid(),
    service_name varchar(100) not null,
    incident_id uuid not null,
    event_id uuid not null,
    channel text not null,
    kind text not null,
    -- Counts the reminders; 0 for everything that is said once.
    sequence integer not null default 0,
    -- Owed by a route with a delay: what somebody has acknowledged by then waits.
    is_escalation boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    -- Why it waits, or waited: 'maintenance', 'silence', 'parent', 'acknowledged'.
    held_by text,
    held_since timestamptz,
    released_at timestamptz,
    cancelled_at timestamptz,
    cancelled_because text,
    -- The message that carries it; none while it waits.
    message_id uuid,
    constraint alert_deliveries_kind_known check (
        kind in ('opened', 'resolved', 'reminder', 'flapping_started', 'flapping_ended')
    )
);

create unique index if not exists idx_alert_deliveries_once
    on public.alert_deliveries (event_id, channel, kind, sequence);
create index if not exists idx_alert_deliveries_waiting
    on public.alert_deliveries (channel, due_at)
    where message_id is null and cancelled_at is null;
create index if not exists idx_alert_deliveries_incident
    on public.alert_deliveries (incident_id, channel);
create index if not exists idx_alert_deliveries_message on public.alert_deliveries (message_id);
create index if not exists idx_alert_deliveries_created_at on public.alert_deliveries (created_at);

-- What is sent: one delivery, or a digest of many. Its id is the idempotency key of every attempt.
create table if not exists public.alert_messages (
    id uuid primary key default gen_random_uuid(),
    channel text not null,
    -- The service, where there is only one: messages about one service stay in order.
    service_name varchar(100),
    status text not null default 'pending',
    delivery_count integer not null,
    created_at timestamptz not null default clock_timestamp(),
    next_attempt_at timestamptz not null default clock_timestamp(),
    give_up_at timestamptz not null,
    attempts integer not null default 0,
    leased_by uuid,
    leased_until timestamptz,
    finished_at timestamptz,
    last_error text,
    -- Whether reminders may follow; taken back when they cannot any more.
    awaits_reminders boolean not null default false,
    constraint alert_messages_status_known
        check (status in ('pending', 'sending', 'delivered', 'dead'))
) with (fillfactor = 70);

create index if not exists idx_alert_messages_unfinished
    on public.alert_messages (channel, created_at)
    where status in ('pending', 'sending');
create index if not exists idx_alert_messages_created_at
    on public.alert_messages (created_at, id);
create index if not exists idx_alert_messages_channel
    on public.alert_messages (channel, created_at, id);
create index if not exists idx_alert_messages_awaits_reminders
    on public.alert_messages (channel, finished_at)
    where awaits_reminders;

create table if not exists public.alert_message_attempts (
    message_id uuid not null,
    attempt integer not null,
    worker uuid not null,
    started_at timestamptz not null default clock_timestamp(),
    -- Without an end its process is at work, or was killed: whether it arrived is not known.
    finished_at timestamptz,
    outcome text,
    error text,
    primary key (message_id, attempt),
    constraint alert_message_attempts_outcome_known
        check (outcome in ('delivered', 'failed', 'refused'))
);


-- At most one active event for a service and type. Where there are several the oldest stays. Rows from
-- before the rules of 013 may break them, and could not be touched while these hold.
do $$
declare
    rule record;
    rules jsonb := '[]';
begin
    if not exists (
        select
        from public.alert_events as event
        where event.status = 'active'
        group by event.service_name, event.alert_type
        having count(*) > 1
    ) then
        return;
    end if;
    for rule in
        select conname as name, pg_get_constraintdef(oid) as definition
        from pg_catalog.pg_constraint
        where conrelid = 'public.alert_events'::regclass
            and contype = 'c'
            and not convalidated
    loop
        rules := rules || to_jsonb(rule);
        execute format('alter table public.alert_events drop constraint %I', rule.name);
    end loop;

    update public.alert_events as event
    set status = 'resolved',
        resolved_at = coalesce(event.resolved_at, current_timestamp),
        details = case
            when jsonb_typeof(event.details) = 'object' and pg_column_size(event.details) < 60000
                then event.details || '{"resolved_by": "duplicate"}'
            when event.details is null then '{"resolved_by": "duplicate"}'
            else event.details
        end
    where event.status = 'active'
        and exists (
            select
            from public.alert_events as older
            where older.service_name = event.service_name
                and older.alert_type = event.alert_type
                and older.status = 'active'
                and (older.created_at, older.id) < (event.created_at, event.id)
        );

    for rule in
        select kept.name, kept.definition
        from jsonb_to_recordset(rules) as kept (name text, definition text)
    loop
        execute format(
            'alter table public.alert_events add constraint %I %s', rule.name, rule.definition
        );
    end loop;
end
$$;

create unique index if not exists idx_alert_events_one_active
    on public.alert_events (service_name, alert_type)
    where status = 'active';


do $$
declare
    memory text;
    outsider text;
begin
    foreach memory in array array[
        'monitored_services', 'alert_policies', 'service_states', 'alert_silences',
        'alert_silence_periods', 'alert_acts', 'alert_channels', 'alert_routes',
        'alert_deliveries', 'alert_messages', 'alert_message_attempts'
    ] loop
        execute format('alter table public.%I enable row level security', memory);
        execute format('revoke all on public.%I from public', memory);
        foreach outsider in array array['anon', 'authenticated'] loop
            if exists (select from pg_catalog.pg_roles where rolname = outsider) then
                execute format('revoke all on public.%I from %I', memory, outsider);
            end if;
        end loop;
        if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
            execute format(
                'grant select, insert, update, delete on public.%I to service_role', memory
            );
        end if;
    end loop;
end
$$;
