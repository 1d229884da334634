"""Components are no services of one machine here."""

from st2common.runners.base_action import Action


class RestartComponent(Action):
    def run(self, servicename):
        return False, (
            "%s cannot be restarted by an action: the node that runs a component restarts it when it fails, and "
            '"yard down" and "yard up" restart all of them' % servicename
        )
