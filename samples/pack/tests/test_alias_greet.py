from st2tests.base import BaseActionAliasTestCase


class GreetAliasTestCase(BaseActionAliasTestCase):
    action_alias_name = "greet"

    def test_a_name_is_taken(self):
        self.assertExtractedParametersMatch(
            self.action_alias_db.formats[0], "greet Ada", {"name": "Ada"}
        )
