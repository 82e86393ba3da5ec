"""The answer of a comparison in words: who wins, by how much, and whether two comparisons agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

from autoscaler_tuning.experiments.live_summary import INVALID, LiveMedians, LiveRow
from autoscaler_tuning.experiments.policy_summary import PolicySummary
from autoscaler_tuning.results import PolicyRow


@dataclass(frozen=True, slots=True)
class Noise:
    """Largest differences that count as none: of the late requests as a share of all, of the pod-seconds as a ratio."""

    late_ratio: float
    cost_ratio: float

    @property
    def words(self) -> str:
        """Say which differences count as none."""
        return (
            f"Differences up to {100 * self.late_ratio:g} % of the requests and {100 * self.cost_ratio:g} % of the "
            "pod-seconds count as none"
        )


SIMULATED = Noise(0.0002, 0.02)
# One live run on a shared machine: a single late burst, or a pod that starts a second later, is no difference.
LIVE = Noise(0.002, 0.05)


@dataclass(frozen=True, slots=True)
class Standing:
    """Figures of one policy.

    runs: late_ratio and pod_seconds of each of several runs, in an order in which those of all policies are comparable.
    """

    policy: str
    late_ratio: float
    lost: int
    pod_seconds: float
    runs: tuple[tuple[float, float], ...] = ()
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Headline:
    """Who wins, in one line; and a sentence with the figures for each of the other policies."""

    title: str
    sentences: tuple[str, ...]

    def markdown(self) -> str:
        """Return both as Markdown."""
        return "\n".join((f"**{self.title}.**", "", *(f"- {sentence}" for sentence in self.sentences)))


def of_row(row: PolicyRow) -> Standing:
    """Return the figures of one run."""
    valid = not any(note.startswith(INVALID) for note in row.notes)
    return Standing(row.policy, row.late_ratio, row.lost, row.pod_seconds, valid=valid)


def of_summary(line: PolicySummary, rows: Sequence[PolicyRow]) -> Standing:
    """Return the means of one policy; rows: those of all policies, ordered by seed."""
    valid = not any(INVALID in note for note in line.notes)
    runs = tuple((row.late_ratio, row.pod_seconds) for row in rows if row.policy == line.policy)
    return Standing(line.policy, line.late_ratio.value, line.lost, line.pod_seconds.value, runs, valid)


def of_medians(line: LiveMedians, rows: Sequence[LiveRow]) -> Standing:
    """Return the medians of the live runs of one policy; rows: those of all policies, in the order of the runs."""
    valid = line.valid_runs > 0
    used = (row for row in rows if row.policy == line.policy and row.valid >= valid)
    runs = tuple((row.late_ratio, row.pod_seconds) for row in used)
    return Standing(line.policy, line.late_ratio.median, line.lost, line.pod_seconds.median, runs, valid)


def headline(standings: Sequence[Standing], ours: str, noise: Noise) -> Headline:
    """Return who wins: `ours`, or the last policy if that did not run, against each of the others.

    A policy wins if it is better in late requests or pod-seconds and not worse in the other.
    """
    chosen = next((one for one in standings if one.policy == ours), standings[-1])
    others = [one for one in standings if one is not chosen]
    if not others:
        return Headline(f"Only {chosen.policy} ran", (f"{_figures(chosen)}.",))
    verdicts = {one.policy: _verdict(chosen, one, noise) for one in others}
    clauses = [
        f"{word} {_listed([name for name, verdict in verdicts.items() if verdict == kind])}"
        for kind, word in _TITLES.items()
        if kind in verdicts.values()
    ]
    sentences = [_sentence(chosen, one, verdicts[one.policy]) for one in others]
    several = any(len(one.runs) > 1 for one in standings)
    sentences.append(f"{noise.words}{', and so do those in which the runs disagree' if several else ''}.")
    title = f"{chosen.policy} {_listed(clauses)}"
    if doubtful := [one.policy for one in standings if not one.valid]:
        title = f"no reliable result, because runs are {INVALID} ({_listed(doubtful)}): {title}"
    return Headline(title, tuple(sentences))


def differences(
    first: tuple[Sequence[Standing], Noise, str], second: tuple[Sequence[Standing], Noise, str]
) -> list[str]:
    """Return where two comparisons order two policies in opposite ways; each is its figures, noise and name."""
    (ones, noise, name), (others, other_noise, other_name) = first, second
    by_policy = {one.policy: one for one in others}
    found = []
    for left, right in combinations(ones, 2):
        here = signs(left, right, noise)
        there = signs(by_policy[left.policy], by_policy[right.policy], other_noise)
        for figure, sign, other_sign in zip(("late requests", "pod-seconds"), here, there, strict=True):
            if sign * other_sign < 0:
                words = ("fewer", "more") if sign < 0 else ("more", "fewer")
                found.append(
                    f"{left.policy} has {words[0]} {figure} than {right.policy} in {name}, {words[1]} in {other_name}"
                )
    return found


_TITLES = {
    "win": "wins against",
    "trade": "is better in one figure and worse in the other than",
    "tie": "is level with",
    "loss": "loses against",
}


def signs(ours: Standing, theirs: Standing, noise: Noise) -> tuple[int, int]:
    """Return -1, 0 or 1 for late requests and for pod-seconds: below 0, ours has fewer.

    0 stands for noise, and for a difference whose sign is not the same in all runs.
    """
    # runs of the same seed or turn are compared; if some are invalid, all with all
    pairs = list((zip if len(ours.runs) == len(theirs.runs) else product)(ours.runs, theirs.runs))
    late = _sign(ours.late_ratio - theirs.late_ratio, noise.late_ratio)
    cost = _sign(ours.pod_seconds - theirs.pod_seconds, noise.cost_ratio * theirs.pod_seconds)
    late_differences, cost_differences = ([one[at] - other[at] for one, other in pairs] for at in (0, 1))
    return _agreed(late, late_differences), _agreed(cost, cost_differences)


def _agreed(sign: int, differences: Sequence[float]) -> int:
    """Return the sign, or 0 if any of the differences has the opposite one."""
    return 0 if any(sign * difference < 0 for difference in differences) else sign


def _sign(difference: float, noise: float) -> int:
    return 0 if abs(difference) <= noise else 1 if difference > 0 else -1


def _verdict(ours: Standing, theirs: Standing, noise: Noise) -> str:
    least, most = sorted(signs(ours, theirs, noise))
    if least < 0 < most:
        return "trade"
    return "win" if least < 0 else "loss" if most > 0 else "tie"


def _sentence(ours: Standing, theirs: Standing, verdict: str) -> str:
    ending = {
        "win": f"{ours.policy} wins",
        "loss": f"{theirs.policy} wins",
        "tie": "neither wins",
        "trade": "neither wins in both",
    }[verdict]
    lost = f"; {ours.lost} and {theirs.lost} requests lost" if ours.lost or theirs.lost else ""
    return (
        f"{ours.policy} and {theirs.policy}: {100 * ours.late_ratio:.2f} % and {100 * theirs.late_ratio:.2f} % of the "
        f"requests late, {ours.pod_seconds:,.0f} and {theirs.pod_seconds:,.0f} pod-seconds{_change(ours, theirs)}"
        f"{lost}: {ending}."
    )


def _change(ours: Standing, theirs: Standing) -> str:
    if not theirs.pod_seconds:
        return ""
    percent = 100 * (ours.pod_seconds / theirs.pod_seconds - 1)
    return f" ({abs(percent):.0f} % {'more' if percent > 0 else 'fewer'})" if round(percent) else " (the same)"


def _figures(one: Standing) -> str:
    lost = f", {one.lost} requests lost" if one.lost else ""
    return f"{100 * one.late_ratio:.2f} % of the requests late, {one.pod_seconds:,.0f} pod-seconds{lost}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
