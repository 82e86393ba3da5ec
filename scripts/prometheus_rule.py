"""Write the rules of knative/monitoring/rules.yaml once more, as an object of the Prometheus Operator.

.venv/bin/python scripts/prometheus_rule.py
"""

from pathlib import Path

import yaml

MANIFESTS = Path(__file__).resolve().parents[1] / "knative"
RULES = MANIFESTS / "monitoring/rules.yaml"
OBJECT = MANIFESTS / "manifests/components/service-monitor/rules.yaml"
HEAD = "# Written by scripts/prometheus_rule.py from knative/monitoring/rules.yaml, which has the reasons.\n"


def prometheus_rule(rules: str) -> str:
    """Return the object with the groups of a rules file."""
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "elastic-inference",
            "labels": {"app.kubernetes.io/part-of": "elastic-ml-inference"},
        },
        "spec": yaml.safe_load(rules),
    }
    return HEAD + yaml.safe_dump(manifest, sort_keys=False, width=120)


if __name__ == "__main__":
    OBJECT.write_text(prometheus_rule(RULES.read_text()))
