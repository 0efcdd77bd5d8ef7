"""Drives a running platform with PyPI's cloudfoundry-client: from the login to a deleted app.

usage: drive.py API USER PASSWORD-FILE APP-FOLDER
"""

import base64
import io
import sys
import time
import zipfile
from pathlib import Path

import requests
from cloudfoundry_client.client import CloudFoundryClient
from cloudfoundry_client.errors import InvalidStatusCode
from cloudfoundry_client.v3.packages import PackageType

PATIENCE_S = 120
done = 0


def step(text):
    global done
    done += 1
    print(f"ok {done} - {text}", flush=True)


def check(condition, found):
    if not condition:
        raise AssertionError(f"found {found!r}")


def eventually(what, look):
    """Asks until the answer is not None."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.2)


def zipped(folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()


def main(api, user, password_file, folder):
    client = CloudFoundryClient(api)
    try:
        client.init_with_user_credentials(user, "not the password")
        raise AssertionError("a wrong password was accepted")
    except Exception as refused:
        check("unauthorized" in str(refused).lower(), str(refused))
    client.init_with_user_credentials(user, Path(password_file).read_text().strip())
    v3 = client.v3
    step("a login with the password grant")

    orgs = list(v3.organizations.list())
    check([org["name"] for org in orgs] == ["main"], orgs)
    space = v3.spaces.get_first(names="dev", organization_guids=orgs[0]["guid"])
    check(space["name"] == "dev", space)
    domain = v3.organizations.get_default_domain(orgs[0]["guid"])
    check(domain["name"], domain)
    check(len(list(v3.buildpacks.list())) > 0, "no buildpacks")
    stack = v3.stacks.get_first()
    check(stack["name"], stack)
    step("organizations, spaces, domains, buildpacks and stacks are listed")

    other = v3.organizations.create("other", False)
    room = v3.spaces.create("room", other["guid"])
    check(v3.spaces.update(room["guid"], "hall")["name"] == "hall", room)
    v3.organizations.remove(other["guid"], asynchronous=False)
    check(v3.organizations.get_first(names="other") is None, "it is still there")
    step("an organization is made, and deleted with what is in it")

    relationships = {"space": {"data": {"guid": space["guid"]}}}
    answer = client.post(
        f"{api}/v3/apps",
        json={
            "name": "hello",
            "relationships": relationships,
            "environment_variables": {"GREETING": "hi"},
            "metadata": {"labels": {"team": "blue"}},
        },
    )
    app = answer.json()["guid"]
    check([a["guid"] for a in v3.apps.list(label_selector="team in (blue,red)")] == [app], app)
    check(list(v3.apps.list(label_selector="!team")) == [], "a label was not seen")
    step("an app is made and found by its label")

    package = v3.packages.create(app, PackageType.BITS)
    bits = {"bits": ("package.zip", zipped(Path(folder)))}
    client.post(f"{api}/v3/packages/{package['guid']}/upload", files=bits)
    eventually(
        "the package is ready",
        lambda: v3.packages.get(package["guid"])["state"] == "READY" or None,
    )
    build = client.post(f"{api}/v3/builds", json={"package": {"guid": package["guid"]}}).json()

    def staged():
        now = client.get(f"{api}/v3/builds/{build['guid']}").json()
        check(now["state"] != "FAILED", now)
        return now if now["state"] == "STAGED" else None

    droplet = eventually("the build ends", staged)["droplet"]["guid"]
    check(v3.droplets.get(droplet)["state"] == "STAGED", droplet)
    step("source becomes a package, and the package a droplet")

    client.patch(
        f"{api}/v3/apps/{app}/relationships/current_droplet", json={"data": {"guid": droplet}}
    )
    route = v3.routes.create(space["guid"], domain["guid"], host="hello")
    client.post(
        f"{api}/v3/routes/{route['guid']}/destinations",
        json={"destinations": [{"app": {"guid": app}}]},
    )
    client.post(f"{api}/v3/apps/{app}/actions/start")

    def running(instances):
        stats = client.get(f"{api}/v3/apps/{app}/processes/web/stats").json()["resources"]
        states = [row["state"] for row in stats]
        check("CRASHED" not in states, stats)
        return stats if states == ["RUNNING"] * instances else None

    eventually("one instance runs", lambda: running(1))
    url = [r["url"] for r in v3.apps.list_routes(app)][0]
    host = url.split(":")[0].split("/")[0]

    def get():
        return requests.get(f"{api}/", headers={"Host": host}, timeout=30)

    answer = get()
    check((answer.status_code, answer.text) == (200, "hello 0 hi"), answer.text)
    step("the app is started, routed, and answers with its variable")

    env = v3.apps.get_env(app)
    check(env["environment_variables"] == {"GREETING": "hi"}, env["environment_variables"])
    check("VCAP_APPLICATION" in env["application_env_json"], env)
    step("its environment is told")

    log_cache = requests.get(f"{api}/", timeout=30).json()["links"]["log_cache"]["href"]

    def lines():
        batch = client.get(
            f"{log_cache}/api/v1/read/{app}",
            params={"descending": "true", "envelope_types": "LOG", "limit": 100},
        ).json()["envelopes"]["batch"]
        texts = [base64.b64decode(entry["log"]["payload"]).decode() for entry in batch]
        return texts if any("listening on" in text for text in texts) else None

    eventually("its lines are in the recent logs", lines)
    step("its recent logs are told")

    client.post(f"{api}/v3/apps/{app}/processes/web/actions/scale", json={"instances": 2})
    eventually("two instances run", lambda: running(2))
    eventually(
        "both answer",
        lambda: {get().text for _ in range(6)} == {"hello 0 hi", "hello 1 hi"} or None,
    )
    processes = list(v3.processes.list(app_guids=app, embed="process_instances"))
    states = [row["state"] for row in processes[0]["process_instances"]]
    check(states == ["RUNNING", "RUNNING"], processes)
    step("it is scaled to two instances")

    check(len(list(v3.apps.list_deployed_revisions(app))) == 1, "no deployed revision")
    v3.apps.restart(app)
    eventually("two instances run again", lambda: running(2))
    copy = client.post(
        f"{api}/v3/apps", json={"name": "copy", "relationships": relationships}
    ).json()["guid"]
    check(v3.packages.copy(package["guid"], copy)["state"] == "READY", copy)
    archive = client.get(f"{api}/v3/droplets/{droplet}/download").content
    check(archive[:2] == b"\x1f\x8b", archive[:20])
    step("it is restarted, its source copied, its droplet downloaded")

    beyond = client.get(f"{api}/v3/apps", params={"page": 9, "per_page": 1}).json()
    check(
        (beyond["resources"], beyond["pagination"]["total_results"]) == ([], 2),
        beyond["pagination"],
    )
    check([a["name"] for a in v3.apps.list(per_page=1)] == ["copy", "hello"], "paging")
    step("lists are paged")

    for guid in (app, copy):
        v3.apps.remove(guid, asynchronous=False)
    v3.routes.remove(route["guid"])
    try:
        v3.apps.get(app)
        raise AssertionError("the app is still there")
    except InvalidStatusCode as gone:
        check(gone.status_code.value == 404, gone)
    eventually("nobody answers", lambda: get().status_code == 404 or None)
    step("the app is deleted")
    print(f"{done} steps of cloudfoundry-client passed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
