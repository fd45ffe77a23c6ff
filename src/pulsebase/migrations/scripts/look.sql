-- What the database knows: the table of applied migrations, its columns, its rows. Changes nothing.
declare
    journal constant regclass := to_regclass('public.migrations');
    answer jsonb := '{"exists": false}';
begin
    --{guard}
    if journal is not null then
        answer := jsonb_build_object(
            'exists', true,
            'kind', (select c.relkind from pg_catalog.pg_class as c where c.oid = journal),
            'columns', (
                select jsonb_agg(jsonb_build_object(
                    'name', a.attname,
                    'type', format_type(a.atttypid, a.atttypmod),
                    'category', t.typcategory,
                    'required', a.attnotnull and not a.atthasdef and a.attidentity = ''
                ) order by a.attnum)
                from pg_catalog.pg_attribute as a
                join pg_catalog.pg_type as t on t.oid = a.atttypid
                where a.attrelid = journal and a.attnum > 0 and not a.attisdropped
                    and a.attgenerated = ''
            )
        );
        if exists (
            select
            from pg_catalog.pg_attribute
            where attrelid = journal and attname = 'id' and not attisdropped
        ) then
            -- By way of JSON, because an adopted table may lack some of the columns.
            execute $rows$
                select $1 || jsonb_build_object('rows', coalesce(jsonb_agg(jsonb_build_object(
                    'id', r.content ->> 'id',
                    'checksum', r.content ->> 'checksum',
                    'executed_at', r.content ->> 'executed_at',
                    'duration_ms', r.content ->> 'duration_ms'
                ) order by r.content ->> 'id'), '[]'))
                from (select to_jsonb(m) as content from public.migrations as m) as r
            $rows$ into answer using answer;
        end if;
    end if;
    --{reply:answer}
end
