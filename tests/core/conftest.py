"""How many examples hypothesis tries, and how long."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines are shared, so no single example has a deadline; pytest-timeout bounds each test as a whole.
settings.register_profile(
    "cloakroom",
    deadline=None,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("cloakroom")
