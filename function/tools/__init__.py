"""Programs that run before serving and in no pod: export, quantisation, measurements."""
