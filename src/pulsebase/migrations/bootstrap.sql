-- Lets pulsebase run migrations over HTTPS with a service key. Paste it into the SQL editor once.
-- Whoever may call this function may do anything: only service_role may.
begin;

drop function if exists public.exec_sql(text);

create function public.exec_sql(sql text) returns jsonb
language plpgsql
security definer
set search_path = public, extensions, pg_temp
as $function$
begin
    execute sql;
    -- A script may leave an answer in this setting; it ends with the transaction.
    return nullif(current_setting('pulsebase.answer', true), '')::jsonb;
end
$function$;

comment on function public.exec_sql(text) is 'Runs the migrations of pulsebase; see pulsebase db bootstrap.';

revoke all on function public.exec_sql(text) from public;

do $$
begin
    -- By name as well: projects on Supabase may grant every new function to these two.
    if exists (select from pg_catalog.pg_roles where rolname = 'anon') then
        revoke all on function public.exec_sql(text) from anon;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        revoke all on function public.exec_sql(text) from authenticated;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant execute on function public.exec_sql(text) to service_role;
    end if;
end
$$;

notify pgrst, 'reload schema';

commit;
