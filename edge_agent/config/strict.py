"""pydantic settings of every record: no unknown keys, no NaN or infinity."""

CHECKED = {"extra": "forbid", "use_attribute_docstrings": True, "allow_inf_nan": False}
