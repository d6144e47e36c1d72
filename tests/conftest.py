"""Of all tests: hypothesis judges answers, never how long they took on a busy machine."""

from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")
