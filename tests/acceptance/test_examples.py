"""The examples work: what can be run here runs, and of the rest every name leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import yaml
from psycopg import sql

from pulsebase.monitor.configuration import load_configuration
from tests.support.requirement import require
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PULSEBASE = Path(sys.executable).parent / "pulsebase"
PLACES = {
    "DATABASE_URL": "postgresql://user@127.0.0.1/app",
    "SHOP_TOKEN": "nobody's",
}
# In one statement, so at one moment.
COUNTS = """
select (select count(*) from {}),
    (select count(*) from service_health_checks where service_name = 'orders')
"""
ORDERS = {"fastapi": "orders", "django": "shop_order"}

each_application = pytest.mark.parametrize("shop", ["fastapi", "django"], indirect=True)


class Shop:
    """One of the applications, running over a database of its own."""

    def __init__(self, kind: str, database: str, folder: Path) -> None:
        self.database = database
        self.address = f"http://127.0.0.1:{(port := free_port())}"
        self._counts = sql.SQL(COUNTS).format(sql.Identifier(ORDERS[kind]))
        self._environment = {"DATABASE_URL": database, "PYTHONDONTWRITEBYTECODE": "1"}
        manage = EXAMPLES / "django" / "manage.py"
        if kind == "django":
            self._finish(sys.executable, manage, "migrate")
            command: list[str | Path] = [
                sys.executable,
                manage,
                "runserver",
                "--noreload",
                f"127.0.0.1:{port}",
            ]
        else:
            command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
            command += ["--app-dir", EXAMPLES / "fastapi"]
        self.process = ServerProcess(command, folder=folder, environment=self._environment)
        self.process.start(self._answers)

    def order(self, product_id: int, quantity: int = 2) -> httpx.Response:
        order = {"product_id": product_id, "quantity": quantity}
        return httpx.post(f"{self.address}/orders", json=order, timeout=30)

    def counted(self) -> tuple[int, int]:
        """How many orders and how many checks of orders there are."""
        with psycopg.connect(self.database) as connection:
            row = connection.execute(self._counts).fetchone()
        assert row is not None
        return row[0], row[1]

    def check(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `pulsebase check` with the application's own configuration file."""
        text = (EXAMPLES / "fastapi" / "pulsebase.toml").read_text("utf-8")
        path = folder / "pulsebase.toml"
        path.write_text(text.replace("http://127.0.0.1:8000", self.address))
        return self._finish(PULSEBASE, "--json", "check", "--config", path, may_fail=True)

    def _finish(
        self, *command: str | Path, may_fail: bool = False
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
        return subprocess.run(
            [str(part) for part in command],
            env={**kept, **self._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=not may_fail,
        )

    def _answers(self) -> bool:
        try:
            return bool(httpx.get(f"{self.address}/health").json() == {"ok": True})
        except httpx.TransportError:
            return False


@pytest.fixture
def shop(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[Shop]:
    started = Shop(request.param, database, tmp_path)
    yield started
    started.process.stop()


@each_application
def test_an_order_and_its_check_are_stored_together(shop: Shop) -> None:
    answer = shop.order(1)
    assert answer.status_code == 201, shop.process.log()
    assert answer.json()["id"] == 1
    assert shop.counted() == (1, 1)


@each_application
def test_an_order_that_fails_at_its_end_takes_its_check_along(shop: Shop) -> None:
    answer = shop.order(9)
    assert answer.status_code == 409, shop.process.log()
    assert answer.json() == {"detail": "there is no such product"}
    assert shop.counted() == (0, 0)
    assert shop.order(1).status_code == 201
    assert shop.counted() == (1, 1)


@each_application
def test_many_orders_at_once_each_have_their_check(shop: Shop) -> None:
    with ThreadPoolExecutor(8) as customers:
        answers = list(customers.map(shop.order, [1, 2, 9, 8] * 20))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (40, 40), shop.process.log()
    assert shop.counted() == (40, 40)


@each_application
def test_a_crash_parts_no_order_from_its_check(shop: Shop) -> None:
    def order_until_it_fails(product_id: int) -> None:
        try:
            while shop.order(product_id).status_code == 201:
                pass
        except httpx.TransportError:
            return

    with ThreadPoolExecutor(4) as customers:
        buying = [customers.submit(order_until_it_fails, 1) for _ in range(4)]
        wait_until(lambda: shop.counted()[0] > 20, "orders come in", 30)
        shop.process.kill()
        for customer in buying:
            customer.result()
    orders, checks = shop.counted()
    assert orders == checks > 20


@each_application
def test_the_application_is_watched_from_outside_and_from_inside(
    shop: Shop, tmp_path: Path
) -> None:
    shop.order(1)
    checked = shop.check(tmp_path)
    assert checked.returncode == 0, checked.stderr
    seen = {one["service_name"]: one["status"] for one in json.loads(checked.stdout)}
    assert seen == {"shop": "healthy", "orders": "healthy"}
    assert shop.counted() == (1, 1)


def readable(path: Path, folder: Path) -> Path:
    """The configuration file of an example, with a secret that is here."""
    secret = folder / "database_url"
    secret.write_text(PLACES["DATABASE_URL"])
    copy = folder / "pulsebase.toml"
    copy.write_text(path.read_text("utf-8").replace("/run/secrets/database_url", str(secret)))
    return copy


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/pulsebase.toml")), ids=lambda path: path.parent.name
)
def test_every_configuration_file_is_accepted(path: Path, tmp_path: Path) -> None:
    assert load_configuration(readable(path, tmp_path), environ=PLACES).services


def test_the_two_applications_are_watched_alike() -> None:
    django, fastapi = (EXAMPLES / kind / "pulsebase.toml" for kind in ("django", "fastapi"))
    assert django.read_text("utf-8") == fastapi.read_text("utf-8")


def unit(folder: Path) -> Path:
    """The unit, with the program where it is here."""
    text = (EXAMPLES / "systemd" / "pulsebase.service").read_text("utf-8")
    path = folder / "pulsebase.service"
    path.write_text(text.replace("/opt/pulsebase/bin/pulsebase", str(PULSEBASE)))
    return path


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require("systemd-analyze is not installed", shutil.which("systemd-analyze"))
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verified = systemd_analyze("verify", unit(tmp_path))
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""


def test_the_unit_is_shut_in_well(tmp_path: Path) -> None:
    judged = systemd_analyze("security", "--offline=true", "--threshold=20", unit(tmp_path))
    assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/README.md")), ids=lambda path: path.parent.name
)
def test_every_command_of_a_readme_exists(path: Path) -> None:
    shells = re.findall(r"^```sh\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    used = re.findall(r"\bpulsebase ([a-z][a-z-]+)(?: ([a-z]+))?", "\n".join(shells))
    for group, command in used:
        words = [group, command] if group == "db" else [group]
        helped = subprocess.run(
            [PULSEBASE, *words, "--help"], capture_output=True, text=True, check=False
        )
        assert helped.returncode == 0, words


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.md")), ids=lambda path: path.parent.name)
def test_every_link_of_a_readme_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"\(([a-z-]+)/README\.md\)", (EXAMPLES / "README.md").read_text()))
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.is_dir()}


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says, each instruction with its arguments."""
    text = (EXAMPLES / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_built_from_files_that_are_there_and_not_kept_out() -> None:
    ignored = (EXAMPLES / "docker" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY"]
    sources = [source for line in copied for source in line if not line[0].startswith("--from")]
    assert {"pyproject.toml", "src"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.removeprefix('./')}" in ignored, source


def test_the_image_holds_what_its_build_needs() -> None:
    """The build backend reads these of pyproject.toml; without them it fails."""
    [copied] = [rest for name, rest in instructions() if rest.startswith("pyproject.toml")]
    assert {"README.md", "LICENSE"} <= set(copied.split())


def test_the_container_is_not_root_and_runs_a_command_that_there_is() -> None:
    said = dict(instructions())
    assert said["USER"] == "10001:10001"
    words = [*json.loads(said["ENTRYPOINT"]), *json.loads(said["CMD"])]
    assert words[:2] == ["pulsebase", "run"]
    destination = next(rest for name, rest in instructions() if "pulsebase.toml" in rest).split()
    assert words[-1] == destination[-1]


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_compose_names_what_there_is() -> None:
    compose = loaded(EXAMPLES / "docker" / "compose.yaml")
    for service in compose["services"].values():
        assert set(service["secrets"]) <= compose["secrets"].keys()
        assert set(service.get("depends_on", {})) <= compose["services"].keys()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            there = (EXAMPLES / "docker" / source).exists()
            assert source in compose["volumes"] or there, source
    build = compose["services"]["monitor"]["build"]
    assert (EXAMPLES / "docker" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
    assert compose["services"]["monitor"]["read_only"] is True


def test_the_workflow_checks_with_the_secrets_that_the_file_asks_for() -> None:
    workflow = loaded(EXAMPLES / "github-actions" / "health.yml")
    [*_, last] = workflow["jobs"]["check"]["steps"]
    assert last["run"].startswith("pulsebase check ")
    for name, value in last["env"].items():
        assert value == f"${{{{ secrets.{name} }}}}"
    asked = re.findall(
        r"\$\{(\w+)\}", (EXAMPLES / "github-actions" / "pulsebase.toml").read_text("utf-8")
    )
    assert set(asked) <= last["env"].keys()
    # YAML reads the key "on" as true.
    assert workflow[True]["schedule"] == [{"cron": "*/10 * * * *"}]
