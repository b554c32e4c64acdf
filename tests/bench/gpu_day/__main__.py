"""``python -m bench.gpu_day STEP...``: run the steps in turn; 1 if one failed as a whole."""

import sys
from importlib import import_module

from cliffvid.cli.console import result

from .notes import Notes
from .plan import STEPS, Plan, read_plan


def main(plan: Plan) -> int:
    for folder in (plan.out, plan.work):
        folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in plan.steps:
        step = STEPS[name]
        result(f"=== {name}: {step.what}")
        settings = {key: value for key, value in vars(plan).items() if key not in ("steps", "seconds")}
        seconds = step.seconds if plan.seconds is None else plan.seconds
        notes = Notes(plan.out / f"{name}.json", step.columns, seconds, settings)
        with notes.ending():
            module, function = step.function.split(":")  # what one step needs, another machine may lack
            getattr(import_module(f".{module}", __package__), function)(plan, notes)
        failed |= "error" in notes.facts
        result(f"--- {name} took {notes.passed_s:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(read_plan()))
