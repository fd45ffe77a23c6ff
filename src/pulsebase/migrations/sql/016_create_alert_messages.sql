-- The functions of alerting: messages.

comment on table public.alert_messages is
    'Alerting: messages.';
