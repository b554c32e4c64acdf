"""The examples for Slurm and Kubernetes, run as the cluster would: parts, signals, requeues, and a merge."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bulk import TOYS, annotate, make_inputs, rows, videos

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# Stand-ins for the cluster's programs. Slurm signals the processes of a step, not the batch script.
PROGRAMS = {
    "cliffvid": f'exec {shlex.quote(sys.executable)} -m cliffvid "$@"',
    "srun": """
while [[ $1 == --* ]]; do shift; done
echo $$ > "$SPOOL/step.part" && mv "$SPOOL/step.part" "$SPOOL/step"
exec setsid "$@"
""",
    "scontrol": 'echo "$*" >> "$SPOOL/scontrol"',
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, toys):
    """A folder with inputs under ``clips``, and the data set ``once`` that one run makes of them."""
    base = tmp_path_factory.mktemp("clusters")
    make_inputs(base / "clips", clips=12)
    annotate("clips", "-o", "once", cwd=base, toys=toys, check=1)
    return base


@pytest.fixture
def programs(tmp_path):
    """The environment in which the stand-ins are found; what they write goes to ``SPOOL``."""
    (tmp_path / "bin").mkdir()
    for name, script in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SPOOL": str(tmp_path)}


def directives(script: Path) -> dict[str, str]:
    """The options that a batch script gives itself."""
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script.read_text(), re.MULTILINE))


def sbatch(script: Path, *args, cwd: Path, env: dict[str, str], signalled: bool = False) -> int:
    """The exit code of a batch script that, if ``signalled``, gets its signal as soon as something is done."""
    journal = cwd / "annotated" / "parts" / "0-of-2" / "journal.jsonl"
    with open(Path(env["SPOOL"]) / "log", "a") as log:
        running = subprocess.Popen(["bash", script, *map(str, args)], cwd=cwd, env=env, stdout=log, stderr=log)
        if signalled:
            while not journal.exists() or b'"done"' not in journal.read_bytes():
                assert running.poll() is None
                time.sleep(0.01)
            name = directives(script)["signal"].partition("@")[0]
            step = int((Path(env["SPOOL"]) / "step").read_text())
            os.killpg(step, signal.Signals[f"SIG{name}"])
        return running.wait(60)


def test_a_slurm_array_whose_task_is_requeued_makes_the_same_data_set(data, toys, programs):
    script, merge = EXAMPLES / "slurm" / "annotate.sbatch", EXAMPLES / "slurm" / "merge.sbatch"
    assert directives(script).keys() >= {"signal", "requeue", "time", "array"}
    args = ("clips", "-o", "annotated", "--models", toys, *TOYS, "--checkpoint", 0, "--workers", 1)
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1"}
    env = programs | array | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "2"}
    log, requeued = Path(env["SPOOL"]) / "log", Path(env["SPOOL"]) / "scontrol"
    first = {"SLURM_ARRAY_TASK_ID": "0"}
    assert sbatch(script, *args, cwd=data, env=env | first, signalled=True) == 130
    assert requeued.read_text() == "requeue 7_0\n" and "the same command goes on from there" in log.read_text()
    assert sbatch(merge, "annotated", cwd=data, env=env) == 1  # a part is not done, and stays
    for task in ("0", "1"):
        assert sbatch(script, *args, cwd=data, env=env | {"SLURM_ARRAY_TASK_ID": task}) == 0, log.read_text()
    assert requeued.read_text().count("\n") == 1
    assert sbatch(merge, "annotated", cwd=data, env=env) == 0, log.read_text()
    assert rows(data / "annotated").equals(rows(data / "once"))
    assert videos(data / "annotated") == videos(data / "once")
    assert "Traceback" not in log.read_text()


def test_a_slurm_array_with_gaps_is_refused(data, toys, programs):
    """Of the array 3,5 the parts would be other ones than those of 0-7."""
    gaps = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "5", "SLURM_ARRAY_TASK_COUNT": "2"}
    script = EXAMPLES / "slurm" / "annotate.sbatch"
    assert sbatch(script, "clips", "-o", "gaps", cwd=data, env=programs | gaps | {"SLURM_ARRAY_TASK_ID": "3"}) == 2
    assert "count from 0 without gaps" in (Path(programs["SPOOL"]) / "log").read_text()
    assert not (data / "gaps").exists()


def test_the_pods_of_a_kubernetes_job_make_the_same_data_set(data, toys, programs, tmp_path):
    job, merge = yaml.safe_load_all((EXAMPLES / "k8s" / "job.yaml").read_text())
    spec = job["spec"]
    (pod,), (merger,) = (each["spec"]["template"]["spec"]["containers"] for each in (job, merge))
    (parts,) = (each["value"] for each in pod["env"] if each["name"] == "PARTS")
    assert spec["completionMode"] == "Indexed" and spec["completions"] == int(parts) and merge["spec"]["suspend"]
    assert [rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"][1:]] == [[130], [2]]
    for each in (job, merge):
        template = each["spec"]["template"]["spec"]
        assert template["securityContext"]["runAsNonRoot"] and template["restartPolicy"] == "Never"

    def run(container: dict, **env: str) -> None:
        options = shlex.join(["--models", str(toys), *TOYS])
        script = container["args"][0].replace("/data/clips", f"clips {options}").replace("/data/annotated", "pods")
        subprocess.run([*container["command"], script], cwd=data, env=programs | env, check=True, timeout=60)

    for index in range(2):
        run(pod, PARTS="2", JOB_COMPLETION_INDEX=str(index))
    run(merger)
    assert rows(data / "pods").equals(rows(data / "once")) and videos(data / "pods") == videos(data / "once")


def test_the_containers_run_as_nobody_special_and_the_demo_is_that_of_make():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "\nUSER 1000\n" in dockerfile and "EXTRAS=cpu" in dockerfile
    demo = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["demo"]
    assert demo["network_mode"] == "none"
    makefile = re.search(r"DEMO_COMMAND := cliffvid (.*?)\nDEMO", (ROOT / "Makefile").read_text(), re.DOTALL)
    words = shlex.split(makefile[1].replace("\\\n", " "))
    assert " ".join(demo["command"]).replace("--out=", "-o ").replace("=", " ").split() == words
    assert {path.partition(":")[0] for path in demo["volumes"]} == {"./examples", "./demo"}
