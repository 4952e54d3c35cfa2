"""The process that communicates with Weights & Biases, for one run from wandb.init to its end.

It is a separate process because wandb's calls wait for the server and cannot be interrupted from outside: a
training that called them would wait too. This process can be killed at any time without harm.

It reads JSON lines from standard input: the options, the values to log, and finally the training's exit code.
It writes JSON lines to standard output: when wandb is imported, when the run could not start online, when it
has started, and at the end. All other output of wandb and its subprocesses goes to standard error, which the
training redirects to a file.
"""

import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

# Without this, wandb reports its own use to the server when the process ends, and waits for the answer.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def main() -> None:
    """Runs the process."""
    # Both pipes are duplicated, so that the programs that wandb starts do not inherit them.
    messages, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    options = json.loads(messages.readline())
    import wandb

    answer(imported=True)
    run = None
    if options["server"] is not None:
        try:
            run = start_online(options)
        except Exception as error:
            traceback.print_exc()
            answer(error=str(error), kind=type(error).__name__)
    if run is None:
        run = wandb.init(**options["init"], settings=wandb.Settings(**options["settings"], mode="offline"))
    answer(folder=str(Path(run.dir).parent))
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    complete, exit_code = True, 1  # 1 remains if the training dies before it sends its exit code.
    for line in messages:
        message = json.loads(line)
        if "exit_code" in message:
            exit_code = message["exit_code"]
            break
        try:
            log(run, message)
        except Exception:
            complete = False
            traceback.print_exc()
    try:
        run.finish(exit_code=exit_code)
    except Exception:
        complete = False
        traceback.print_exc()
    answer(complete=complete)


def start_online(options: dict[str, Any]) -> Any:
    """Starts the run online.

    Returns:
        wandb's run.

    Raises:
        Exception: An error of requests or wandb; the server did not start the run within
            `seconds_to_connect`.
    """
    import requests
    import wandb

    seconds = options["seconds_to_connect"]
    begin = time.monotonic()
    # An unreachable server fails here immediately; wandb.init would retry until its timeout.
    requests.head(options["server"], timeout=seconds)
    seconds = max(seconds - (time.monotonic() - begin), 0.1)
    settings = wandb.Settings(**options["settings"], mode="online", init_timeout=seconds)
    return wandb.init(**options["init"], id=options["online_id"], settings=settings)


def log(run: Any, message: dict[str, Any]) -> None:
    """Logs one message of the training: a `config`, or `metrics`, `tables` and `pictures`."""
    import wandb

    if "config" in message:
        run.config.update(message["config"], allow_val_change=True)
        return
    values = dict(message.get("metrics", {}))
    for name, table in message.get("tables", {}).items():
        values[name] = wandb.Table(columns=table["columns"], data=table["rows"])
    for name, picture in message.get("pictures", {}).items():
        values[name] = wandb.Image(picture["file"], caption=picture["caption"])
    if message["step"] is not None:
        values["trainer/global_step"] = message["step"]
    run.log(values)


if __name__ == "__main__":
    main()
