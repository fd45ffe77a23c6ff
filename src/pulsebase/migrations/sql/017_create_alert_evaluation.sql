-- The functions of alerting: evaluation.

comment on table public.alert_policies is
    'Alerting: evaluation.';
