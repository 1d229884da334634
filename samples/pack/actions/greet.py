import inflection

from st2common.runners.base_action import Action


class Greet(Action):
    def run(self, name, times=1, remember_as=None):
        text = "%s, %s!" % (self.config.get("greeting") or "Hello", inflection.titleize(name))
        text = " ".join([text] * times)
        self.logger.info("greeting %s", name)
        if remember_as:
            self.action_service.set_value(remember_as, text, local=False)
        return True, {"text": text, "signed": bool(self.config.get("signature"))}
