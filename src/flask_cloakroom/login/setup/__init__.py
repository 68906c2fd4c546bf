"""Settings, loaders and handlers that an application declares for its logins."""
