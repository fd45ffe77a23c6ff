-- Whoever may execute exec_sql may do anything; roles that do not exist are not asked about.
declare
    opened text;
begin
    select string_agg(distinct p.oid::regprocedure::text, ', ')
    into opened
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_roles as r on r.rolname in ('anon', 'authenticated')
    where p.proname = 'exec_sql'
        and has_schema_privilege(r.oid, p.pronamespace, 'usage')
        and has_function_privilege(r.oid, p.oid, 'execute');
    if opened is not null then
        raise exception 'pulsebase: exec_sql is open: %', opened;
    end if;
end;
