from greet import Greet
from st2tests.base import BaseActionTestCase


class GreetTestCase(BaseActionTestCase):
    action_cls = Greet

    def test_a_greeting_begins_as_configured(self):
        action = self.get_action_instance(config={"greeting": "Good morning"})
        succeeded, result = action.run("ada lovelace", times=2)
        self.assertTrue(succeeded)
        self.assertEqual(result["text"], "Good morning, Ada Lovelace! Good morning, Ada Lovelace!")
        self.assertFalse(result["signed"])

    def test_a_greeting_is_remembered(self):
        action = self.get_action_instance(config={"greeting": "Hello"})
        action.run("ada", remember_as="visitor")
        self.assertEqual(action.action_service.get_value("visitor", local=False), "Hello, Ada!")
