"""The packs that were fetched, behind those that are listed already."""

from st2common.runners.base_action import Action


class VirtualenvPrerun(Action):
    def run(self, packs_status, packs_list=None):
        fetched = [pack for pack, status in packs_status.items() if "success" in status.lower()]
        return (packs_list or []) + fetched
