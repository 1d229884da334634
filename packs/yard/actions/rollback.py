"""Goes back to an earlier droplet of an app."""

from st2common.runners.base_action import Action
from st2common.util import date
from yard_api import ApiError, YardApi


class Rollback(Action):
    def run(
        self,
        app,
        space=None,
        organization=None,
        droplet=None,
        deployed_within_minutes=None,
        strategy="rolling",
        wait_seconds=0,
    ):
        api = YardApi()
        found = api.find_app(app, organization, space)
        last = api.get("/v3/deployments", app_guids=found["guid"], order_by="-created_at", per_page=1)["resources"]
        if deployed_within_minutes is not None:
            if not last:
                return {"app": found["name"], "rolled_back": False, "because": "the app was never deployed"}
            minutes = age_in_minutes(last[0]["created_at"], date.get_datetime_utc_now())
            if minutes > deployed_within_minutes:
                because = "the last deployment began %d minutes ago" % minutes
                return {"app": found["name"], "rolled_back": False, "because": because}
        if droplet is None and last and last[0]["status"]["value"] == "ACTIVE":
            api.post("/v3/deployments/%s/actions/cancel" % last[0]["guid"])
            return {"app": found["name"], "rolled_back": True, "canceled": last[0]["guid"]}
        current = api.get("/v3/apps/%s/droplets/current" % found["guid"])
        if droplet is None:
            newest_first = api.get(
                "/v3/apps/%s/droplets" % found["guid"], states="STAGED", order_by="-created_at", per_page=100
            )["resources"]
            droplet = previous(newest_first, current)
        deployment = api.deploy(found, droplet, strategy, wait_seconds)
        return {
            "app": found["name"],
            "rolled_back": True,
            "from": current["guid"],
            "to": droplet,
            "deployment": deployment,
        }


def previous(newest_first, current):
    """The guid of the newest droplet that is older than the current one."""
    guids = [entry["guid"] for entry in newest_first]
    behind = guids[guids.index(current["guid"]) + 1:] if current["guid"] in guids else []
    if not behind:
        raise ApiError("roll back", None, "the app has no droplet that is older than the current one")
    return behind[0]


def age_in_minutes(created_at, now):
    return (now - date.parse(created_at)).total_seconds() / 60
