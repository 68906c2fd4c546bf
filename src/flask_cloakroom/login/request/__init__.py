"""The user of the current request: found by a credential, the session, a remember cookie or a loader."""
