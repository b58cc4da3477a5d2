"""What holds for every test."""

from hypothesis import HealthCheck, settings

# A machine that does other things as well is slow at times: that fails no property.
settings.register_profile("everup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everup")
