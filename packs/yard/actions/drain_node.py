"""Stands for an operation that the API does not have yet, so that rules can name it."""

from st2common.runners.base_action import Action


class DrainNode(Action):
    def run(self, node):
        return False, "the API has no operation to drain a node: %s was not touched" % node
