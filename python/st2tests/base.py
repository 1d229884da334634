"""The classes that the unit tests of packs inherit from."""

from st2tests.action_aliases import BaseActionAliasTestCase
from st2tests.actions import BaseActionTestCase
from st2tests.pack_resource import BasePackResourceTestCase
from st2tests.sensors import BaseSensorTestCase

__all__ = ["BasePackResourceTestCase", "BaseActionTestCase", "BaseSensorTestCase", "BaseActionAliasTestCase"]
