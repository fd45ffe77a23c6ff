-- One file: lock, look, execute, record, notify. One transaction, so all of it or nothing.
#variable_conflict use_column
declare
    began timestamptz;
    recorded record;
    statement integer := 0;
    error_state text;
    error_message text;
    error_detail text;
    error_hint text;
begin
    --{guard}
    --{lock}
    select id, checksum
    into recorded
    from public.migrations
    where id = --{id}
        or (checksum = --{checksum} and id ~ --{same_words})
    order by id = --{id} desc
    limit 1;
    if found then
        if recorded.checksum <> --{checksum} then
            raise exception 'pulsebase: the file was applied with another text';
        end if;
        --{reply:'{"outcome": "present"}'::jsonb}
    end if;
    perform set_config('lock_timeout', --{lock_timeout}, true);
    began := clock_timestamp();
    --{statements}
    --{record}
    notify pgrst, 'reload schema';
    perform set_config(
        'pulsebase.answer',
        jsonb_build_object(
            'outcome', 'applied',
            'duration_ms', round(extract(epoch from clock_timestamp() - began) * 1000)::bigint
        )::text,
        true
    );
end
