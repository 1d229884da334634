"""Stands in for actions that the controller carries out itself: they change what packs there are."""

from st2common.runners.base_action import Action


class Native(Action):
    def run(self, **parameters):
        return False, "the controller carries this action out itself; a pack's process cannot"
