"""Test cases for packs. `python3 -m st2tests.run PACK` runs a pack's own tests."""

from st2tests.base import (
    BaseActionAliasTestCase,
    BaseActionTestCase,
    BasePackResourceTestCase,
    BaseSensorTestCase,
)

__all__ = ["BasePackResourceTestCase", "BaseActionTestCase", "BaseSensorTestCase", "BaseActionAliasTestCase"]
