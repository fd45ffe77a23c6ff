-- The functions of alerting: acts.

comment on table public.alert_acts is
    'Alerting: acts.';
