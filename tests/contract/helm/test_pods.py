"""The pods of the Helm chart have few rights, lose no request, and can be reached only as intended."""

import re

import pytest

from tests.chart import (
    CHART,
    container,
    containers,
    of_kind,
    pod_specs,
    render,
    values_of,
)
from tests.contract.test_deploy import PINNED
from tests.helm import why_no_helm

pytestmark = pytest.mark.skipif(why_no_helm() is not None, reason=str(why_no_helm()))

GPU_CONTAINERS = {"triton", "plans"}  # NVIDIA's runtime writes into their root file systems


# ---- policy ----


def test_every_image_is_pinned(objects):
    for each in containers(objects):
        assert PINNED.fullmatch(each["image"]) or re.fullmatch(
            r".+(@sha256:[0-9a-f]{64}|:[\w.-]+)", each["image"]
        )
        assert not each["image"].endswith(":latest")
    for each in containers(render()):
        assert PINNED.fullmatch(each["image"]), each["image"]


def test_nothing_runs_as_root_or_can_become_it(rendered):
    name, given = rendered
    for pod in pod_specs(given).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for each in containers(given):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.get("runAsUser", 10001) >= 1000
        writes = "gpu" in name and each["name"] in GPU_CONTAINERS
        assert context["readOnlyRootFilesystem"] is not writes
        assert "privileged" not in context


def test_no_pod_gets_a_token_or_variables_of_other_services(objects):
    for pod in pod_specs(objects).values():
        assert pod["automountServiceAccountToken"] is False
        assert (
            pod["enableServiceLinks"] is False
        )  # SPARSIGHT_PORT=tcp://… would keep the gateway from starting
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not [each for each in objects if each["kind"] in {"Role", "ClusterRole", "RoleBinding", "Secret"}]


def test_every_container_has_limits_and_every_one_that_serves_has_probes(objects):
    for each in containers(objects):
        for part in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(each["resources"][part]), each["name"]
        if each["name"] in {"gateway", "triton"}:
            assert "livenessProbe" in each
    for pod in pod_specs(objects).values():
        for each in pod["containers"]:
            assert {"startupProbe", "readinessProbe"} <= set(each)
            for kind in ("startup", "liveness", "readiness"):
                probe = each[f"{kind}Probe"]
                assert (
                    probe["timeoutSeconds"] <= probe["periodSeconds"]
                    or kind != "readiness"
                    or "exec" in probe
                )


def test_whole_cores_are_given_because_threads_are_counted_from_them(objects):
    for each in containers(objects):
        if each["name"] in {"gateway", "triton"}:
            assert re.fullmatch(r"[1-9]\d*", each["resources"]["limits"]["cpu"])
    settings = values_of(CHART / "values.yaml")["gateway"]
    assert str(settings["settings"]["workers"]) == settings["resources"]["limits"]["cpu"]


def test_only_what_brings_models_may_write_them(objects):
    for each in containers(objects):
        for mount in each["volumeMounts"]:
            if mount["name"] in {"models", "model-store"}:
                writes = mount["name"] == "models" and each["name"] in {"models", "plans"}
                assert mount.get("readOnly", False) is not writes, each["name"]


def test_every_mount_has_its_volume(objects):
    for pod in pod_specs(objects).values():
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = {
            mount["name"]
            for each in (*pod.get("initContainers", ()), *pod["containers"])
            for mount in each["volumeMounts"]
        }
        assert mounted == volumes


# ---- a request survives ----


def test_a_pod_gets_the_time_to_leave_and_to_finish(objects):
    pod = pod_specs(objects)["gateway"]
    (gateway,) = [each for each in pod["containers"] if each["name"] == "gateway"]
    sleeps = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    env = {each["name"]: each.get("value") for each in gateway["env"]}
    assert pod["terminationGracePeriodSeconds"] > sleeps + int(env["SPARSIGHT_SHUTDOWN_TIMEOUT_S"])
    assert sleeps > 0
    slow = pod_specs(render({"gateway": {"drainSeconds": 20, "settings": {"shutdown_timeout_s": 100}}}))
    assert slow["gateway"]["terminationGracePeriodSeconds"] == 130


def test_a_roll_or_a_drained_machine_takes_no_ready_pod_too_many(rendered):
    name, given = rendered
    for each in of_kind(given, "Deployment"):
        rolling = each["spec"]["strategy"]["rollingUpdate"]
        scarce = "gpu" in name and each["metadata"]["name"].endswith("-triton")
        assert rolling == {"maxUnavailable": int(scarce), "maxSurge": int(not scarce)}
    selected = [each["spec"]["selector"]["matchLabels"] for each in of_kind(given, "PodDisruptionBudget")]
    if name != "alone":
        assert {each["app.kubernetes.io/component"] for each in selected} == set(pod_specs(given))


def test_triton_in_the_gateways_pod_ends_after_the_gateway():
    pod = pod_specs(render())["gateway"]
    (triton,) = pod["initContainers"]
    assert triton["restartPolicy"] == "Always"  # a sidecar
    assert not {"startupProbe", "readinessProbe"} & set(triton)  # the gateway waits for neither


def test_a_gateway_asks_the_triton_of_its_pod_or_the_service():
    together, apart = render(), render({"layout": "apart"})
    for given, host in ((together, "127.0.0.1"), (apart, "sparsight-triton")):
        server = container(given, "triton").command
        options = dict(each.removeprefix("--").split("=", 1) for each in server if "=" in each)
        assert container(given, "gateway").env["SPARSIGHT_TRITON__URL"] == f"{host}:{options['grpc-port']}"
        assert options["http-address"] == "127.0.0.1"  # HTTP can unload models
        assert options["grpc-address"] == ("127.0.0.1" if given is together else "0.0.0.0")
        assert options["http-port"] != str(container(given, "gateway").ports["http"])
    (service,) = [
        each for each in of_kind(apart, "Service") if each["metadata"]["name"] == "sparsight-triton"
    ]
    assert {port["port"] for port in service["spec"]["ports"]} == {8001, 8002}


def test_memory_is_shared_inside_a_pod():
    given = render({"triton": {"sharedMemory": True}})
    for name in ("gateway", "triton"):
        raw = container(given, name).raw
        assert {"name": "shm", "mountPath": "/dev/shm"} in raw["volumeMounts"]
        assert (
            "runAsUser" not in raw["securityContext"]
        )  # both are the pod's user, and read each other's files
    assert container(given, "gateway").env["SPARSIGHT_TRITON__SHARED_MEMORY"] == "true"


def test_with_gpus_plans_are_built_before_triton_starts():
    pod = pod_specs(render(values_of(CHART / "ci" / "gpu.yaml")))["gateway"]
    assert [each["name"] for each in pod["initContainers"]] == ["models", "plans", "triton"]
    for each in pod["initContainers"][1:]:
        assert each["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    gateway = container(render({"gpu": {"enabled": True}}), "gateway")
    assert gateway.env["SPARSIGHT_TRITON__TARGET"] == "tensorrt"


# ---- closed ----


def test_probes_and_metrics_follow_the_admin_port_and_tls():
    plain = render(values_of(CHART / "ci" / "tls.yaml"))
    closed = render(values_of(CHART / "ci" / "closed.yaml"))
    for given, port in ((plain, 8000), (closed, 9000)):
        gateway = container(given, "gateway")
        assert {(probe.port, probe.scheme) for probe in gateway.probes.values()} == {(port, "HTTPS")}
        (monitor,) = [
            each for each in of_kind(given, "ServiceMonitor") if each["metadata"]["name"] == "sparsight"
        ]
        assert monitor["spec"]["endpoints"][0]["scheme"] == "https"
        assert gateway.ports[monitor["spec"]["endpoints"][0]["port"]] == port
        assert gateway.env["SPARSIGHT_TLS__CERT"] == "/etc/sparsight/tls/tls.crt"
    asks = monitor["spec"]["endpoints"][0]["authorization"]
    assert asks == {"type": "Bearer", "credentials": {"name": "prometheus-key", "key": "key"}}
    env = container(closed, "gateway").env
    assert env["SPARSIGHT_ADMIN_PORT"] == "9000"
    assert env["SPARSIGHT_ADMIN_HOST"] == "0.0.0.0"  # probes come from outside the pod
    assert env["SPARSIGHT_ACCESS__KEYS_FILE"] == "/etc/sparsight/access/keys.json"
    assert env["SPARSIGHT_ACCESS__JWKS_FILE"] == "/etc/sparsight/access/jwks.json"
    assert env["SPARSIGHT_TLS__CLIENT_CA"] == "/etc/sparsight/tls/ca.crt"
    (token,) = [
        each for each in container(closed, "gateway").raw["env"] if each["name"] == "SPARSIGHT_ADMIN_TOKEN"
    ]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "sparsight-admin", "key": "token"}
    (public,) = [each for each in of_kind(closed, "Service") if each["spec"].get("type") == "LoadBalancer"]
    (port,) = public["spec"]["ports"]
    assert (port["targetPort"], port["appProtocol"]) == ("http", "https")


def policies(given):
    return {each["metadata"]["name"]: each["spec"] for each in of_kind(given, "NetworkPolicy")}


def test_only_named_callers_reach_the_gateway_and_only_gateways_reach_triton():
    given = policies(render({"layout": "apart"}))
    deny = given.pop("sparsight-deny")
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    calls, scrapes = given["sparsight-gateway"]["ingress"]
    assert (calls["from"], calls["ports"]) == ([{"podSelector": {}}], [{"port": "http", "protocol": "TCP"}])
    assert (scrapes["from"], scrapes["ports"]) == (monitoring, [{"port": "http", "protocol": "TCP"}])
    asks, scrapes = given["sparsight-triton"]["ingress"]
    (asker,) = asks["from"]
    assert asker["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert asks["ports"] == [{"port": 8001, "protocol": "TCP"}]
    assert (scrapes["from"], scrapes["ports"]) == (monitoring, [{"port": 8002, "protocol": "TCP"}])
    ports = {
        name: [port["port"] for rule in policy["egress"] for port in rule["ports"]]
        for name, policy in given.items()
    }
    assert ports == {"sparsight-gateway": [53, 53, 8001], "sparsight-triton": [53, 53]}
    stored = policies(render(values_of(CHART / "ci" / "object-storage.yaml")))
    assert [port["port"] for rule in stored["sparsight-triton"]["egress"] for port in rule["ports"]] == [
        53, 53, 9000,
    ]  # fmt: skip


def test_with_an_admin_port_callers_do_not_reach_metrics():
    calls, scrapes = policies(render(values_of(CHART / "ci" / "closed.yaml")))["sparsight-gateway"]["ingress"]
    assert calls["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert [port["port"] for port in scrapes["ports"]] == ["admin", 8002]


def test_files_of_secrets_are_mounted_for_the_gateway_only():
    given = render(values_of(CHART / "ci" / "closed.yaml"))
    volumes = {volume["name"]: volume for volume in pod_specs(given)["gateway"]["volumes"]}
    assert volumes["access"]["secret"] == {"secretName": "sparsight-keys", "defaultMode": 0o440}
    assert volumes["tls"]["secret"] == {"secretName": "sparsight-tls", "defaultMode": 0o440}
    secret = {"access", "tls"}
    mounts = {each["name"]: {mount["name"] for mount in each["volumeMounts"]} for each in containers(given)}
    assert secret <= mounts["gateway"]
    assert not secret & mounts["triton"]
