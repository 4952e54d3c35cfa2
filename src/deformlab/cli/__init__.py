"""The command line: `deformlab VERB ...`.

`main` reads the verb and imports only what that verb needs. The training verbs (fit, validate, test, predict)
use LightningCLI, in `training`; all other verbs are functions in `main`.
"""

from deformlab.cli.main import TRAINING_VERBS, main

__all__ = ["TRAINING_VERBS", "main"]
