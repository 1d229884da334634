"""Tells where packs are, and which group may change them."""

from st2common.content import utils
from st2common.runners.base_action import Action


class GetConfig(Action):
    def run(self):
        return {"pack_group": "st2packs", "pack_path": utils.get_system_packs_base_path()}
