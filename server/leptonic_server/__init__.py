"""The server: coordinator, rules, run store, link to the clients, report."""
