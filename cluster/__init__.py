"""Ray: the session, the resident workers and the scorers. The only place where a model, a policy and a score meet."""
