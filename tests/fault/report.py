"""What a run says about itself."""

from __future__ import annotations

from tests.fault.run import Outcome, Plan

_SHOWN = 20


def problems(outcome: Outcome) -> list[str]:
    """Everything that a run fails for, the first ones in full."""
    found = [f"{part} did not recover within 30 s" for part in outcome.unrecovered]
    if outcome.late is not None:
        found.append(f"after 30 s of rest: {outcome.late}")
    findings = [f"{one.kind.value}: {one.what}" for one in outcome.verdict.findings]
    found += findings[:_SHOWN]
    if len(findings) > _SHOWN:
        found.append(f"... and {len(findings) - _SHOWN} more")
    return found


def print_report(plan: Plan, outcome: Outcome) -> bool:
    """Print the seed, the tally and what is wrong; whether nothing is."""
    wrong = problems(outcome)
    print(f"seed {plan.seed}: {outcome.verdict.tally()}")
    print(f"at rest {outcome.settled_after:.1f} s after the load")
    print("  " + ", ".join(f"{what} {n}" for what, n in sorted(outcome.counts.items())))
    for line in wrong:
        print(f"  FAILED {line}")
    return not wrong
