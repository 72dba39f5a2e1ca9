"""The network: client, gate, retries, TLS, logins, webhooks, the port for metrics."""
