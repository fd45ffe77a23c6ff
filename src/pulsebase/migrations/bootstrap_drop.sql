-- Takes back what pulsebase db bootstrap installed; migrations over HTTPS need it again.
begin;

drop function if exists public.exec_sql(text);

notify pgrst, 'reload schema';

commit;
