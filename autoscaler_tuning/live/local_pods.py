"""Pods of the function as processes on this machine, for `control --target local`."""

import sys
from pathlib import Path

from autoscaler_tuning.live.local_stack import ROOT
from autoscaler_tuning.live.targets import LocalTarget
from knative.local import LocalPods, LocalPodSpec


def function_pods(max_pods: int, log_dir: Path, model_dir: Path, pad_service_s: float) -> LocalTarget:
    """Return a target whose pods run the function under gunicorn, as its container image does."""
    argv = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "function/gunicorn.conf.py"), "function.wsgi:app")
    env = {"MODEL_DIR": str(model_dir.resolve()), "PAD_SERVICE_S": str(pad_service_s), "PYTHONPATH": str(ROOT)}
    return LocalTarget(LocalPods(LocalPodSpec(argv=argv, env=env), max_pods=max_pods, log_dir=log_dir))
